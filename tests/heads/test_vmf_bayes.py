"""The Bayes classifier of von Mises-Fisher densities: golden numbers, limits, unknown rows."""

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.directional import VonMisesFisher
from vmf_embeddings.heads import NCMHead, VMFBayesHead

GOLDEN = load_golden("dm_movmf")


def fitted(x, labels, kappa="per_class", prior="counts"):
    head = VMFBayesHead(int(labels.max()) + 1, x.shape[1], kappa, prior)
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
