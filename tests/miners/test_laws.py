"""What holds for every miner of conf/miner: valid triplets, made again by the same seed."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

import vmf_embeddings
from vmf_embeddings.miners.base import Miner, Triplets, no_miner

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "miner"
PATHS = {path.stem: path for path in sorted(CONF.glob("*.yaml"))}
NAMES = sorted(PATHS.keys() - {"none"})
ONE_PER_ANCHOR = ("distance", "parametric")  # also for an anchor without partner


def miner(name, **options):
    node = yaml.safe_load(PATHS[name].read_text())["params"] | options
    module, _, cls = node.pop("_target_").rpartition(".")
    return getattr(import_module(module), cls)(**node)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(labels, dim=8, seed=0, spread=0.5):
    labels = torch.tensor(labels)
    centres = torch.randn(100, dim, generator=generator(seed))
    noise = torch.randn(len(labels), dim, generator=generator(seed + 1))
    return torch.nn.functional.normalize(centres[labels] + spread * noise), labels


def is_valid(name, labels, a, p, n):
    if name == "intra_random":
        return labels[a] == labels[p] == labels[n]
    if name == "rho_distance" and a == p:
        return labels[n] == labels[a] and n != a
    alone = (labels == labels[a]).sum() == 1
    partner = p == a if alone and name in ONE_PER_ANCHOR else p != a
    return bool(labels[p] == labels[a] and labels[n] != labels[a] and partner)


BATCHES = {
    "pairs": [0, 0, 1, 1, 2, 2, 3, 3],
    "ragged": [4, 1, 4, 4, 1, 0, 9, 9],
    "singletons alone": [0, 1, 2, 3],
    "one class": [5, 5, 5],
    "one row": [0],
}


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_every_triplet_is_valid(name, labels):
    x, y = batch(labels)
    for seed in range(20):
        triplets = miner(name)(x, y, generator(seed))
        assert isinstance(triplets, Triplets)
        assert all(part.dtype == torch.int64 and part.ndim == 1 for part in triplets)
        rows = torch.stack(triplets).T.tolist()
        assert all(is_valid(name, y, *row) for row in rows), rows


@pytest.mark.parametrize("name", NAMES)
def test_no_pair_no_triplet(name):
    x, y = batch([0, 1, 2, 3])
    n_triplets = len(miner(name)(x, y, generator()).anchor)
    assert n_triplets == (4 if name in (*ONE_PER_ANCHOR, "intra_random") else 0)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("random", "npair", "intra_random")])
def test_each_anchor_that_can_has_one_triplet(name):
    x, y = batch([4, 1, 4, 4, 1, 0, 9, 9])
    expected = list(range(8)) if name in ONE_PER_ANCHOR else [0, 1, 2, 3, 4, 6, 7]
    assert miner(name)(x, y, generator()).anchor.tolist() == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_decides_and_no_global_one_is_touched(name):
    x, y = batch([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    before = torch.get_rng_state()
    one, two, other = (miner(name)(x, y, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_without_a_generator_the_default_one_decides(name):
    x, y = batch([0, 0, 0, 1, 1, 1])
    torch.manual_seed(3)
    one = miner(name)(x, y)
    torch.manual_seed(3)
    two = miner(name)(x, y)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_do_not_pass_and_any_dtype_is_taken(name, dtype):
    x, y = batch([0, 0, 1, 1])
    x = x.to(dtype).requires_grad_()
    assert not any(part.requires_grad for part in miner(name)(x, y, generator()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [2, 3, 512])
def test_opposite_and_equal_points_are_safe(name, dim):
    """Distances 0 and 2, where the density of distances has zeros and poles."""
    point = torch.eye(1, dim)
    x = torch.cat([point, -point, point, -point, point, point])
    y = torch.tensor([0, 0, 1, 1, 2, 3])
    for variant in ("standard", "reference"):
        options = {"variant": variant} if "distance" in name else {}
        rows = torch.stack(miner(name, **options)(x, y, generator())).T.tolist()
        assert rows and all(is_valid(name, y, *row) for row in rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_generator_on_the_cpu_makes_the_same_triplets_on_a_gpu(name):
    x, y = batch([0, 0, 0, 1, 1, 1, 2, 2, 3, 4])
    here = miner(name)(x, y, generator(1))
    there = miner(name)(x.cuda(), y.cuda(), generator(1))
    assert all(b.is_cuda and torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))
    rng = torch.Generator("cuda").manual_seed(1)
    rows = torch.stack(miner(name)(x.cuda(), y.cuda(), rng)).T.tolist()
    assert rows and all(is_valid(name, y, *row) for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match="expected embeddings"):
        miner(name)(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64), generator())
    with pytest.raises(ValueError, match="B >= 1"):
        miner(name)(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), generator())


@pytest.mark.parametrize("name", NAMES)
def test_yaml_is_the_signature_and_explains_itself(name):
    lines = PATHS[name].read_text().splitlines()
    node = yaml.safe_load(PATHS[name].read_text())
    assert set(node) == {"name", "params"} and node["name"] == name
    assert isinstance(miner(name), Miner)
    options = set(node["params"]) - {"_target_"}
    parameters = inspect.signature(type(miner(name))).parameters
    assert options == set(parameters)
    assert all(p.default is p.empty for p in parameters.values()), "defaults live in the yaml"
    assert lines[0].startswith("# ") and all(" # " in line for line in lines[4:])


def test_none_is_no_miner():
    assert yaml.safe_load(PATHS["none"].read_text())["params"]["_target_"].endswith("no_miner")
    assert no_miner() is None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("distance", {"lower": 1.5}, "lower=1.5, upper=1.4"),
        ("distance", {"lower": 0.0}, "0 < lower < 2"),
        ("distance", {"variant": "paper"}, "variant must be one of"),
        ("rho_distance", {"switch_probability": 1.5}, r"in \[0, 1\], got 1.5"),
        ("rho_distance", {"variant": "x"}, "variant must be one of"),
        ("semihard", {"margin": 0.0}, "margin must be > 0"),
        ("parametric", {"policy": "hard"}, "policy must be one of"),
        ("parametric", {"policy": [1.0, 2.0]}, "n_bins=30 weights"),
        ("parametric", {"policy": [0.0] * 30}, "one of them above 0"),
        ("parametric", {"low": 1.4}, "0 <= low < high"),
        ("parametric", {"n_bins": 0}, "n_bins must be >= 1"),
    ],
)
def test_wrong_values_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        miner(name, **options)
