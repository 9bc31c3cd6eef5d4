"""How many images of each class a long-tailed training set keeps, and which ones.

Profiles of Cui et al. 2019 (https://arxiv.org/abs/1901.05555, section 5.1) and of Buda et al. 2018
(https://arxiv.org/abs/1710.05381); the images are those of LDAM-DRW (Cao et al. 2019,
https://arxiv.org/abs/1906.07413) or of GLMC (Du et al. 2023, https://arxiv.org/abs/2305.08661).
"""

import numpy as np

PROFILES = ("exp", "step")
SUBSET_SEEDS = {"ldam": 0, "glmc": 3407}  # what either school seeds NumPy's legacy generator with


def profile_counts(
    n_max: int, n_classes: int, imbalance_factor: float, profile: str = "exp"
) -> np.ndarray:
    """Images to keep of each class; class 0 is the head, classes stay in their own order.

    `exp` keeps floor(n_max f^(k / (C - 1))) images of class k, where f = 1 / imbalance_factor;
    `step` keeps n_max of the first C // 2 classes and floor(n_max f) of the others.

    Args:
        n_max: images of class 0, >= 1.
        n_classes: C >= 2.
        imbalance_factor: n_max over the last class's images, >= 1. Very large ones leave classes
            empty.
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
    share = 1.0 / imbalance_factor
    if profile == "step":
        exponents = [0.0 if k < n_classes // 2 else 1.0 for k in range(n_classes)]
    else:
        exponents = [k / (n_classes - 1.0) for k in range(n_classes)]
    # Python's power, not NumPy's: the floor must fall on the same side as in the originals
    return np.array([int(n_max * share**exponent) for exponent in exponents], dtype=np.int64)


def shuffled_members(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Positions of each class in random order; what is kept of a class is the start of its row.

    NumPy's legacy generator, whose sequence is frozen for ever, in a state of its own: one shuffle
    per class in ascending order. With seed 0 these are LDAM-DRW's images, and with seed 3407 those
    of GLMC, whose `choice` without replacement is the same shuffle. A larger imbalance keeps a
    part of what a smaller one keeps.

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
    """The seed that a choice of images stands for: a school's own, or the user's for `seeded`."""
    if subset == "seeded":
        if subset_seed < 0:
            raise ValueError(f"dataset.params.subset_seed must be >= 0, got {subset_seed}")
        return subset_seed
    if subset not in SUBSET_SEEDS:
        known = ", ".join([*SUBSET_SEEDS, "seeded"])
        raise ValueError(f"dataset.params.subset is one of {known}; got {subset!r}")
    return SUBSET_SEEDS[subset]
