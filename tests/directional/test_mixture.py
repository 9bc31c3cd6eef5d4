"""Mixtures: the golden numbers, the laws of EM, and what happens at the limits."""

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.directional import (
    VonMisesFisher,
    VonMisesFisherMixture,
    fit_von_mises_fisher,
    mixture_compiled,
    mixture_steps,
    spherical_kmeans_plus_plus,
)

GOLDEN = load_golden("dm_movmf")
CASES = ("m0", "m1", "m2", "m3")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def made(n_components, **options):
    options = {"generator": rng(), "quiet": True} | options
    return VonMisesFisherMixture(n_components, **options)


def clusters(n=60, kappa=(60.0, 30.0, 90.0), dim=4, seed=0):
    """Rows [3 n, D] around three axes, and their clusters."""
    axes = torch.eye(dim, dtype=torch.float64)[: len(kappa)]
    vmf = VonMisesFisher(axes, torch.tensor(kappa, dtype=torch.float64))
    labels = torch.arange(len(kappa)).repeat(n)
    return vmf.sample((n,), rng(seed)).flatten(0, 1), labels


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("case", CASES)
def test_eight_steps_are_the_golden_ones(case, kind):
    start = f"{case}/exact_{kind}/"
    golden = {k.removeprefix(start): v for k, v in GOLDEN.items() if k.startswith(start)}
    x, centres = GOLDEN[f"{case}/x"].astype(float), GOLDEN[f"{case}/init_centers"].astype(float)
    options = {"responsibilities": kind, "init": centres, "tol": 0.0}
    options["init_kappa"] = float(golden["init_kappa"])
    for n_steps in (1, 8):
        mixture = made(len(centres), max_iter=n_steps, **options).fit(x)
        np.testing.assert_allclose(mixture.weights_, golden["weights"][n_steps - 1], rtol=1e-9)
        np.testing.assert_allclose(mixture.concentrations_, golden["kappa"][n_steps - 1], rtol=1e-9)
    np.testing.assert_allclose(mixture.mean_directions_, golden["centers_last"], atol=1e-10)
    np.testing.assert_allclose(mixture.predict_proba(x).T, golden["posterior_last"], atol=1e-9)
    assert mixture.score(x) * len(x) == pytest.approx(float(golden["loglik_last"]), rel=1e-10)
    assert mixture.bic(x) == pytest.approx(float(golden["bic"]), rel=1e-10)
    if kind == "soft":  # hard steps are recorded by the likelihood that they raise
        history = np.array(mixture.log_likelihoods_) * len(x)
        np.testing.assert_allclose(history, golden["loglik_before_step"], rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"shared_kappa": True}, {"kappa": 20.0}])
@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_likelihood_never_falls(kind, options, seed):
    x = torch.randn(300, 6, generator=rng(seed), dtype=torch.float64)
    weights = torch.rand(300, generator=rng(seed))
    mixture = made(5, responsibilities=kind, tol=0.0, max_iter=25, **options).fit(x, weights)
    history = np.array(mixture.log_likelihoods_)
    assert (np.diff(history) > -1e-10).all() and history[-1] > history[0] + 1e-3


def test_one_component_is_the_fit_of_one_distribution():
    x, _ = clusters()
    mu, kappa = fit_von_mises_fisher(x)
    mixture = made(1).fit(x)
    torch.testing.assert_close(mixture.mean_directions_[0], mu)
    torch.testing.assert_close(mixture.concentrations_[0], kappa)
    assert mixture.weights_.tolist() == [1.0]


@pytest.mark.parametrize("kappa", [0.7, 50.0])
def test_hard_steps_of_equal_components_are_spherical_kmeans(kappa):
    x = torch.nn.functional.normalize(torch.randn(200, 5, generator=rng()).double(), dim=1)
    centres = x[:4]
    options = {"kappa": kappa, "init_kappa": kappa, "equal_weights": True, "tol": 0.0}
    mixture = made(4, responsibilities="hard", init=centres, max_iter=6, **options).fit(x)
    for _ in range(6):
        nearest = (x @ centres.T).argmax(1)
        sums = torch.stack([x[nearest == k].sum(0) for k in range(4)])
        centres = torch.nn.functional.normalize(sums, dim=1)
    torch.testing.assert_close(mixture.mean_directions_, centres)
    assert torch.equal(mixture.predict(x), (x @ centres.T).argmax(1))


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_fit_recovers_the_mixture_of_draws(kind):
    x, labels = clusters(n=3000)
    mixture = made(3, responsibilities=kind).fit(x)
    found = mixture.predict(x)
    order = [int(found[labels == k].mode().values) for k in range(3)]
    assert sorted(order) == [0, 1, 2] and mixture.converged_
    assert (torch.tensor(order)[labels] == found).double().mean() > 0.99
    kappa = mixture.concentrations_[order]
    torch.testing.assert_close(kappa, torch.tensor([60.0, 30.0, 90.0]).double(), rtol=0.08, atol=0)
    points, components = mixture.sample(4000)
    counts = torch.bincount(components, minlength=3) / 4000
    torch.testing.assert_close(counts.double(), mixture.weights_, rtol=0, atol=0.03)
    assert abs(mixture.score(points) - mixture.score(x)) < 0.05


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_weights_are_repeated_rows(kind):
    x, _ = clusters(n=20)
    repeats = torch.randint(0, 3, (60,), generator=rng())
    options = {"responsibilities": kind, "init": x[:3], "max_iter": 5, "tol": 0.0}
    weighted, repeated = made(3, **options), made(3, **options)
    rows = x.repeat_interleave(repeats, 0)
    weighted.fit(x, repeats)
    repeated.fit(rows)
    torch.testing.assert_close(
        weighted.concentrations_, repeated.concentrations_, rtol=1e-9, atol=0
    )
    torch.testing.assert_close(weighted.weights_, repeated.weights_)
    assert weighted.bic(x, repeats) == pytest.approx(repeated.bic(rows), rel=1e-10)
    assert weighted.aic(x, repeats) == pytest.approx(repeated.aic(rows), rel=1e-10)


def test_order_and_lengths_of_rows_do_not_matter_and_rotations_turn_the_centres():
    x, _ = clusters()
    options = {"init": x[:3], "max_iter": 5, "tol": 0.0}
    mixture = made(3, **options).fit(x)
    lengths = torch.rand(len(x), 1, generator=rng()).double() + 0.5
    other = made(3, **options).fit((lengths * x).flip(0))
    torch.testing.assert_close(other.mean_directions_, mixture.mean_directions_)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=rng()).double())
    turned = made(3, **options | {"init": x[:3] @ rotation.T}).fit(x @ rotation.T)
    torch.testing.assert_close(turned.mean_directions_, mixture.mean_directions_ @ rotation.T)
    torch.testing.assert_close(turned.concentrations_, mixture.concentrations_)


@pytest.mark.parametrize("criterion", ["bic", "aic"])
def test_criteria_choose_the_number_of_clear_clusters(criterion):
    x, _ = clusters(n=150)
    values = {k: getattr(made(k, n_init=3).fit(x), criterion)(x) for k in (1, 2, 3, 4, 5)}
    best = min(values, key=values.get)
    assert best == 3 or (criterion == "aic" and best in (4, 5))
    assert values[3] < values[2] < values[1]


def test_parameters_that_are_not_estimated_are_not_counted():
    x, _ = clusters()
    k, d = 3, 4
    assert made(k).fit(x).n_parameters == k * (d + 1) - 1
    assert made(k, shared_kappa=True).fit(x).n_parameters == k * d
    assert made(k, kappa=9.0, equal_weights=True).fit(x).n_parameters == k * (d - 1)


def test_blocks_of_rows_change_nothing(monkeypatch):
    x, _ = clusters()
    whole = made(3).fit(x)
    monkeypatch.setattr(mixture_steps, "CPU_BLOCK", 1)
    parts = made(3).fit(x)
    torch.testing.assert_close(parts.mean_directions_, whole.mean_directions_)
    torch.testing.assert_close(parts.log_density(x), whole.log_density(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind, largest_kept", [("soft", 0.0), ("soft", 1.0), ("hard", 0.0)])
@pytest.mark.parametrize("block", [2**17, 7])
def test_compiled_code_gives_the_same_statistics(kind, largest_kept, block, dtype, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(mixture_compiled, "LARGEST_KEPT", largest_kept)
    monkeypatch.setattr(mixture_compiled, "BLOCK", block)
    monkeypatch.setattr(mixture_compiled, "SMALLEST_BLOCK", 5)
    monkeypatch.setattr(mixture_compiled, "SEGMENT_ROWS", 50)
    x = clusters()[0].to(dtype)
    x = x.T.contiguous().T  # the layout of rows does not matter
    parameters = made(3, responsibilities=kind).fit(x)._parameters
    weightless = mixture_steps.maximization(
        parameters.mu * torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64),
        torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64),
        mixture_steps.Constraints(False, 5.0, False, 1e4),
    )
    # a log density is a sum of terms of the size of kappa
    rtol = 2 * torch.finfo(dtype).eps * float(parameters.kappa.max())
    for weights in (None, torch.rand(len(x), generator=rng(), dtype=dtype)):
        for given in (parameters, weightless):
            found = []
            for switch in ("0", "1"):
                monkeypatch.setenv("VMF_EMBEDDINGS_NATIVE", switch)
                found.append(mixture_steps.expectation(x, given, weights, kind == "hard"))
            for a, b in zip(vars(found[0]).values(), vars(found[1]).values(), strict=True):
                torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_number_of_threads_changes_nothing(kind, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("VMF_EMBEDDINGS_NATIVE", "1")
    monkeypatch.setattr(mixture_compiled, "SEGMENT_ROWS", 50)
    x, before = clusters(dim=6, n=100)[0].float(), torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append(made(3, responsibilities=kind, max_iter=4).fit(x))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other.mean_directions_, found[0].mean_directions_)
        assert torch.equal(other.concentrations_, found[0].concentrations_)


def test_the_same_generator_gives_the_same_mixture_and_more_starts_are_no_worse():
    x = torch.randn(200, 5, generator=rng()).double()
    first, second = made(6).fit(x), made(6).fit(x)
    assert torch.equal(first.mean_directions_, second.mean_directions_)
    assert made(6, n_init=4).fit(x).score(x) >= first.score(x)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_empty_components_are_moved_to_rows_that_are_explained_worst(kind):
    x, labels = clusters()
    far = torch.nn.functional.normalize(-torch.ones(1, 4).double(), dim=1)
    init = torch.cat([x[:2], far])  # of the third no row is the nearest
    mixture = made(3, responsibilities=kind, init=init).fit(x)
    assert mixture.weights_.min() > 0.2
    assert len({(int(a), int(b)) for a, b in zip(labels, mixture.predict(x), strict=True)}) == 3


def test_fewer_distinct_rows_than_components_end_without_nan():
    x = torch.eye(3).double().repeat(4, 1)
    for kind in ("soft", "hard"):
        mixture = made(5, responsibilities=kind).fit(x)
        assert mixture.weights_.sum().item() == pytest.approx(1)
        for values in (mixture.mean_directions_, mixture.concentrations_, mixture.predict_proba(x)):
            assert values.isfinite().all()


def test_mini_batches_come_near_to_all_rows():
    x, labels = clusters(n=1500)
    whole = made(3).fit(x)
    parts = made(3, mini_batch=256, max_iter=8).fit(x)
    assert parts.score(x) > whole.score(x) - 0.02
    again = made(3, mini_batch=256, max_iter=8).fit(x)
    assert torch.equal(parts.mean_directions_, again.mean_directions_)


def test_arrays_give_arrays_and_tensors_tensors_in_their_precision():
    x, _ = clusters()
    array = made(3).fit(x.numpy())
    tensor = made(3).fit(x)
    single = made(3).fit(x.float())
    np.testing.assert_array_equal(array.predict(x.numpy()), tensor.predict(x))
    assert isinstance(array.weights_, np.ndarray) and isinstance(array.sample(3)[0], np.ndarray)
    assert array.log_density(x.numpy()[:0]).shape == (0,)
    assert single.log_density(x.float()).dtype == torch.float32
    torch.testing.assert_close(single.score(x.float()), tensor.score(x), rtol=1e-4, atol=0)


def test_the_distribution_has_the_same_density_and_gradients():
    x, _ = clusters()
    mixture = made(3).fit(x)
    points = x[:5].clone().requires_grad_()
    log_prob = mixture.distribution().log_prob(points)
    torch.testing.assert_close(log_prob, mixture.log_density(x[:5]))
    assert torch.autograd.grad(log_prob.sum(), points)[0].isfinite().all()


@pytest.mark.parametrize("dim", [2, 3])
def test_the_density_integrates_to_one(dim):
    x, _ = clusters(kappa=(30.0, 8.0), dim=dim)
    mixture = made(2).fit(x)
    t = torch.linspace(-1, 1, 4001, dtype=torch.float64)[:-1] + 1 / 4000  # midpoints
    if dim == 2:
        angle = torch.pi * t
        points, area = torch.stack([angle.cos(), angle.sin()], 1), 2 * torch.pi
    else:
        height, turn = torch.meshgrid(t[::10], torch.pi * t[::20], indexing="ij")
        radius = (1 - height.square()).sqrt()
        points = torch.stack([radius * turn.cos(), radius * turn.sin(), height], -1)
        points, area = points.reshape(-1, 3), 4 * torch.pi
    mean = mixture.log_density(points).exp().mean()
    assert float(mean * area) == pytest.approx(1, abs=2e-3)


def test_first_centres_are_rows_far_from_one_another():
    x, labels = clusters(n=200)
    chosen = spherical_kmeans_plus_plus(x, 3, generator=rng())
    nearest = (chosen @ torch.eye(4).double()[:3].T).argmax(1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    weights = (labels != 2).double()
    chosen = spherical_kmeans_plus_plus(x, 30, weights, rng())
    assert not ((chosen @ torch.eye(4).double()[:3].T).argmax(1) == 2).any()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: made(0), "n_components: expected at least 1, got 0"),
        (lambda x: made(2, responsibilities="fuzzy"), "one of soft, hard, got 'fuzzy'"),
        (lambda x: made(2, init="kmeans"), r"one of k-means\+\+, random"),
        (lambda x: made(2, kappa=-1.0), "kappa: expected a number >= 0"),
        (lambda x: made(2, init=x[:3]).fit(x), r"expected directions \[2, 4\], got \[3, 4\]"),
        (lambda x: made(200).fit(x), "N of at least 200"),
        (lambda x: made(2).fit(0 * x), "length 0 in row 0"),
        (lambda x: made(2).fit(x / 0), "expected finite rows"),
        (lambda x: made(2).fit(x, 0 * x[:, 0]), "not all 0"),
        (lambda x: made(2).fit(x, x[:3, 0]), r"one for each row, \[180\], got \[3\]"),
        (lambda x: made(2).predict(x), r"call fit\(x\) first"),
        (lambda x: made(2).fit(x).predict(x[:, :3]), r"expected rows \[N, 4\]"),
    ],
)
def test_mistakes_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call(clusters()[0])
