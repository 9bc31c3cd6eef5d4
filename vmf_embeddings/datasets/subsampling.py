"""How many images of each class a long-tailed training set keeps, and which ones.

Profiles of Cui et al. 2019 (https://arxiv.org/abs/1901.05555, section 5.1) and of Buda et al. 2018
(https://arxiv.org/abs/1710.05381); the choice of images is that of the code of LDAM-DRW (Cao et al.
2019, https://arxiv.org/abs/1906.07413) or of GLMC (Du et al. 2023, https://arxiv.org/abs/2305.08661).
"""

import numpy as np

PROFILES = ("exp", "step")
SUBSET_SEEDS = {"ldam": 0, "glmc": 3407}  # seed of NumPy's legacy generator in their code


def profile_counts(
    n_max: int, n_classes: int, imbalance_factor: float, profile: str = "exp"
) -> np.ndarray:
    """Images to keep of each class; class 0 has most, and classes are not sorted by frequency.

    `exp` keeps floor(n_max f^(k / (C - 1))) images of class k, where f = 1 / imbalance_factor;
    `step` keeps n_max of the first C // 2 classes and floor(n_max f) of the others.

    Args:
        n_max: images of class 0, >= 1.
        n_classes: C >= 2.
        imbalance_factor: n_max over the number of images of the last class, >= 1. Above n_max,
            classes become empty.
        profile: `exp` or `step`.

    Returns:
        int64 [C], in descending order.

    >>> profile_counts(5000, 10, 100).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if profile not in PROFILES:
        raise ValueError(f"profile is one of {', '.join(PROFILES)}; got {profile!r}")
    if not imbalance_factor >= 1 or n_max < 1 or n_classes < 2:
        raise ValueError(
            "expected imbalance_factor >= 1 (head over tail), n_max >= 1 and at least 2 classes; "
            f"got {imbalance_factor}, {n_max} and {n_classes}"
        )
    fraction = 1.0 / imbalance_factor
    if profile == "step":
        exponents = [0.0 if k < n_classes // 2 else 1.0 for k in range(n_classes)]
    else:
        exponents = [k / (n_classes - 1.0) for k in range(n_classes)]
    # Python's power, not NumPy's: they round differently, and the floor must equal the original's
    return np.array([int(n_max * fraction**exponent) for exponent in exponents], dtype=np.int64)


def shuffled_members(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Positions of the images of each class in random order; a subset keeps the first ones.

    Classes are shuffled in ascending order by a new instance of NumPy's legacy generator, whose
    sequence will not change. Seed 0 gives LDAM-DRW's images, and seed 3407 those of GLMC, whose
    `choice` without replacement is the same shuffle. A larger imbalance keeps a subset of the
    images that a smaller one keeps.

    Args:
        labels: integers [N] in 0..C-1.
        seed: >= 0.

    Returns:
        C arrays of int64 positions.
    """
    legacy = np.random.RandomState(seed)
    members = [np.flatnonzero(labels == k) for k in range(int(labels.max()) + 1)]
    for positions in members:
        legacy.shuffle(positions)
    return members


def subset_seed_of(subset: str, subset_seed: int) -> int:
    """The seed of "ldam" or "glmc", or `subset_seed` itself if `subset` is "seeded"."""
    if subset == "seeded":
        if subset_seed < 0:
            raise ValueError(f"dataset.params.subset_seed must be >= 0, got {subset_seed}")
        return subset_seed
    if subset not in SUBSET_SEEDS:
        known = ", ".join([*SUBSET_SEEDS, "seeded"])
        raise ValueError(f"dataset.params.subset is one of {known}; got {subset!r}")
    return SUBSET_SEEDS[subset]
