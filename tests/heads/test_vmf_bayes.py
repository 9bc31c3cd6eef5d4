"""The Bayes classifier of von Mises-Fisher densities: golden numbers, limits, unknown rows."""

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.directional import VonMisesFisher, VonMisesFisherMixture, mean_cosine
from vmf_embeddings.heads import NCMHead, VMFBayesHead

GOLDEN = load_golden("dm_movmf")


def fitted(x, labels, kappa="per_class", prior="counts", **options):
    head = VMFBayesHead(int(labels.max()) + 1, x.shape[1], kappa, prior, **options)
    head.fit(x, labels)
    return head


@pytest.mark.parametrize("case", ["m0", "m1", "m2", "m3"])
@pytest.mark.parametrize(
    "kappa, prior, key",
    [
        ("per_class", "counts", "exact_log_posterior"),
        ("shared", "counts", "exact_log_posterior_shared"),
        ("per_class", "uniform", "exact_log_posterior_uniform_prior"),
    ],
)
def test_posteriors_and_densities_are_the_golden_ones(case, kappa, prior, key):
    x, labels = (torch.tensor(GOLDEN[f"{case}/{name}"]) for name in ("x", "labels"))
    head = fitted(x.double(), labels, kappa, prior)
    logits = head(torch.tensor(GOLDEN[f"{case}/queries"]).double())
    np.testing.assert_allclose(
        logits.log_softmax(1), GOLDEN[f"{case}/classes/{key}"], rtol=1e-9, atol=1e-9
    )
    if key == "exact_log_posterior":
        np.testing.assert_allclose(
            logits.logsumexp(1), GOLDEN[f"{case}/classes/exact_log_density"], rtol=1e-10
        )
        largest = (logits - head.frequency.log()).amax(1)
        expected = GOLDEN[f"{case}/classes/exact_max_log_class_density"]
        np.testing.assert_allclose(largest, expected, rtol=1e-10)


def rows(n=200, n_classes=4, dim=6):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % n_classes
    x = torch.randn(n, dim, generator=rng) + 3 * torch.eye(dim)[labels]
    return x, labels


def test_a_shared_concentration_and_uniform_prior_is_the_nearest_mean_by_cosine():
    x, labels = rows()
    head = fitted(x, labels, "shared", "uniform")
    means = NCMHead(4, 6, features="l2n", distance="dot")
    means.fit(x, labels)
    cosines = (
        torch.nn.functional.normalize(x, dim=1)
        @ torch.nn.functional.normalize(means.centroids, dim=1).T
    )
    assert torch.equal(head(x).argmax(1), cosines.argmax(1))


def test_rows_of_every_direction_have_the_prior_as_their_posterior():
    """The concentration vanishes with the sums."""
    x = torch.cat([torch.eye(3), -torch.eye(3), torch.eye(3), -torch.eye(3), torch.eye(3)])
    x = torch.cat([x, -torch.eye(3)])
    labels = torch.tensor([0] * 12 + [1] * 6)
    posterior = fitted(x, labels)(torch.randn(4, 3)).softmax(1)
    torch.testing.assert_close(posterior, torch.tensor([[2 / 3, 1 / 3]]).expand(4, 2))


def test_unknown_rows_have_lower_densities_than_known_ones():
    x, labels = rows()
    head = fitted(x, labels)
    assert head(x).logsumexp(1).mean() > head(-x).logsumexp(1).mean() + 1
    expected = torch.stack(
        [
            VonMisesFisher.fit(x[labels == k].double()).log_prob(
                torch.nn.functional.normalize(x.double(), dim=1)
            )
            for k in range(4)
        ],
        1,
    )
    # log(1/4): classes of equal size
    torch.testing.assert_close(head(x.double()), expected + np.log(0.25), rtol=1e-9, atol=1e-9)


def test_classes_of_one_row_are_as_concentrated_as_the_others():
    x, labels = rows()
    x, labels = torch.cat([x, torch.ones(1, 6)]), torch.cat([labels, torch.tensor([4])])
    head = fitted(x, labels)
    assert head.kappa[:4].min() < head.kappa[4] < head.kappa[:4].max()


def test_mistakes_are_told():
    x, labels = rows()
    with pytest.raises(ValueError, match=r"classes \[3\] have none"):
        VMFBayesHead(4, 6, "per_class", "counts").fit(x[labels < 3], labels[labels < 3])
    with pytest.raises(ValueError, match="mode=vmf_bayes run=RUN_FOLDER"):
        VMFBayesHead(4, 6, "per_class", "counts")(x)
    with pytest.raises(ValueError, match="head.params.kappa must be one of per_class, shared"):
        VMFBayesHead(4, 6, "own", "counts")
    with pytest.raises(ValueError, match="head.params.prior must be one of counts, uniform"):
        VMFBayesHead(4, 6, "shared", "flat")
    with pytest.raises(ValueError, match="components=90, a class each: .* choose fewer"):
        VMFBayesHead(4, 6, "per_class", "counts", components=90).fit(x[:40], labels[:40])
    with pytest.raises(ValueError, match="1 of 40 rows are NaN or infinite, the first is row 3"):
        broken = x[:40].index_fill(0, torch.tensor([3]), torch.nan)
        VMFBayesHead(4, 6, "per_class", "counts").fit(broken, labels[:40])
    unusable = (("shrink_rows", -1.0), ("prior_power", -0.5), ("components", 0))
    for name, value in (*unusable, ("shrink_rows", torch.inf), ("prior_power", torch.inf)):
        with pytest.raises(ValueError, match=f"head.params.{name} must be >="):
            VMFBayesHead(4, 6, "shared", "counts", **{name: value})


# concentrations between those of the classes and that of all


def uneven():
    """Classes of 150, 30, 12 and 6 rows; the larger, the wider."""
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(4).repeat_interleave(torch.tensor([150, 30, 12, 6]))
    peaks = torch.tensor([1.0, 2.0, 3.0, 4.0])[labels, None] * torch.eye(6)[labels]
    return (torch.randn(len(labels), 6, generator=rng) + 2 * peaks).double(), labels


def test_concentrations_are_shrunk_from_those_of_classes_to_that_of_all():
    x, labels = uneven()
    own, shared = (fitted(x, labels, kappa) for kappa in ("per_class", "shared"))
    none, full = (fitted(x, labels, "pooled_shrunk", shrink_rows=m) for m in (0.0, 1e12))
    assert torch.equal(none(x), own(x))
    torch.testing.assert_close(full(x), shared(x))
    before = own.kappa
    for m in (1.0, 10.0, 100.0, 1000.0):
        kappa = fitted(x, labels, "pooled_shrunk", shrink_rows=m).kappa
        assert ((kappa - shared.kappa).abs() < (before - shared.kappa).abs()).all()
        before = kappa


def test_shrunk_concentrations_are_those_of_more_rows_with_the_mean_cosine_of_all():
    x, labels = uneven()
    head = fitted(x, labels, "pooled_shrunk", shrink_rows=7.0)
    unit = torch.nn.functional.normalize(x, dim=1)
    lengths = torch.stack([unit[labels == k].sum(0).norm() for k in range(4)])
    pooled, counts = lengths.sum() / len(x), torch.bincount(labels)
    wanted = (lengths + 7 * pooled) / (counts + 7)
    torch.testing.assert_close(mean_cosine(head.kappa, 6), wanted)


# priors between the frequencies and 1/C


def test_priors_are_powers_of_the_frequencies():
    x, labels = uneven()
    for power, prior in ((1.0, "counts"), (0.0, "uniform")):
        assert torch.equal(
            fitted(x, labels, prior="power", prior_power=power)(x),
            fitted(x, labels, prior=prior)(x),
        )
    head = fitted(x, labels, prior="power", prior_power=0.5)
    wanted = torch.tensor([150.0, 30.0, 12.0, 6.0]).double().sqrt()
    torch.testing.assert_close(head.frequency, wanted / wanted.sum())
    densities = head(x) - head.frequency.log()
    torch.testing.assert_close(
        densities, fitted(x, labels)(x) - torch.bincount(labels).div(198).log()
    )


# several components


def two_kinds(n=60):
    """Class 0 has rows around two opposite directions, class 1 around a third."""
    rng = torch.Generator().manual_seed(2)
    labels = torch.arange(n) % 2
    side = torch.where(torch.arange(n) % 4 < 2, 1.0, -1.0)
    peaks = torch.where(labels[:, None] == 0, side[:, None] * torch.eye(3)[0], torch.eye(3)[1])
    return (4 * peaks + torch.randn(n, 3, generator=rng)).double(), labels


def test_a_class_of_two_kinds_of_rows_has_a_component_for_each():
    x, labels = two_kinds()
    one, two = fitted(x, labels), fitted(x, labels, components=2)
    own = x[labels == 0]
    assert one.kappa[0] < 1 < 10 < two.kappa[:2].min()
    assert two(own)[:, 0].mean() > one(own)[:, 0].mean() + 1
    assert (two.mu[:2, 0].sort().values - torch.tensor([-1.0, 1.0])).abs().max() < 0.1
    mixture = VonMisesFisherMixture(2, n_init=4, max_iter=500, tol=1e-12, quiet=True)
    mixture.fit(own)
    wanted = mixture.log_density(own) + np.log(0.5)
    torch.testing.assert_close(two(own)[:, 0], wanted, rtol=0, atol=1e-3)


def test_densities_of_mixtures_integrate_to_the_prior():
    x, labels = two_kinds()
    head = fitted(x, labels, components=3, prior="power")
    points = VonMisesFisher(torch.eye(3)[0].double(), torch.tensor(0.0).double()).sample(
        (200_000,), torch.Generator().manual_seed(0)
    )
    total = head(points).exp().mean(0) * 4 * np.pi
    torch.testing.assert_close(total, torch.full_like(total, 0.5), rtol=0.02, atol=0)


def test_fits_of_mixtures_are_the_same_every_time_and_their_state_is_all_there_is():
    x, labels = two_kinds()
    one, other = (fitted(x, labels, components=3, kappa="pooled_shrunk") for _ in range(2))
    assert torch.equal(one(x), other(x))
    empty = VMFBayesHead(2, 3, "pooled_shrunk", "counts", components=3)
    empty.load_state_dict(one.state_dict())
    assert torch.equal(empty(x), one(x))
    one.reset()
    with pytest.raises(ValueError, match="has no densities yet"):
        one(x)


def test_a_class_of_fewer_rows_than_components_has_one_for_each():
    x, labels = two_kinds()
    few = torch.cat([torch.arange(0, 60, 2), torch.tensor([1, 3])])
    head = fitted(x[few], labels[few], components=4)
    assert head(x).isfinite().all()
    assert (head.frequency.view(2, 4) > 0).sum(1).tolist() == [4, 2]
    assert float(head.frequency.sum()) == pytest.approx(1)
    shared = fitted(x, labels, "shared", "uniform", components=2)
    assert shared.kappa.unique().numel() == 1
