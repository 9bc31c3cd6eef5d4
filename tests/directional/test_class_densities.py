"""Von Mises-Fisher densities of classes: the golden numbers and the largest likelihood."""

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.directional import ClassDensities, VonMisesFisher
from vmf_embeddings.metrics.arrays import as_unit_rows
from vmf_embeddings.metrics.ood import sums_of_classes

GOLDEN = load_golden("ood")


@pytest.mark.parametrize("case", [case for case in cases(GOLDEN) if case != "ties"])
def test_densities_are_the_golden_ones(case):
    train, labels = GOLDEN[f"{case}/train_embeddings"], GOLDEN[f"{case}/train_labels"]
    fitted = ClassDensities.fit(*sums_of_classes(train, labels, unit=True))
    np.testing.assert_allclose(fitted.kappa, GOLDEN[f"{case}/vmf_kappa"], rtol=1e-8)
    of_classes = fitted.log_prob(as_unit_rows(GOLDEN[f"{case}/near_embeddings"]))
    for values, name in (
        (of_classes.amax(1), "vmf_max"),
        (fitted.mixed(of_classes), "vmf_mixture"),
    ):
        expected = GOLDEN[f"{case}/near/{name}"]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9, err_msg=name)


def two_classes(kappa=(20.0, 4.0), n=400):
    generator = torch.Generator().manual_seed(0)
    rows = [
        VonMisesFisher(torch.eye(4, dtype=torch.float64)[k], torch.tensor(value)).sample(
            (n,), generator=generator
        )
        for k, value in enumerate(kappa)
    ]
    return torch.cat(rows), np.repeat(np.arange(len(kappa)), n)


def test_other_concentrations_are_less_likely():
    rows, labels = two_classes()
    fitted = ClassDensities.fit(*sums_of_classes(rows, labels))
    own = torch.from_numpy(labels)[:, None]
    best = fitted.log_prob(rows).gather(1, own).sum()
    for factor in (0.99, 1.01):
        other = ClassDensities(fitted.mu, fitted.kappa * factor, fitted.frequency)
        assert float(other.log_prob(rows).gather(1, own).sum()) < float(best)


def test_log_densities_are_those_of_the_distribution():
    rows, labels = two_classes()
    fitted = ClassDensities.fit(*sums_of_classes(rows, labels))
    expected = torch.stack(
        [VonMisesFisher(m, k).log_prob(rows) for m, k in zip(fitted.mu, fitted.kappa, strict=True)],
        1,
    )
    torch.testing.assert_close(fitted.log_prob(rows), expected, rtol=0, atol=1e-10)


def test_a_class_of_one_row_gets_the_concentration_of_the_others():
    rows, labels = two_classes(kappa=(20.0, 20.0))
    rows, labels = torch.cat([rows, -rows[:1]]), np.r_[labels, 2]
    fitted = ClassDensities.fit(*sums_of_classes(rows, labels))
    assert float(fitted.kappa[2]) == pytest.approx(float(fitted.kappa[:2].mean()), rel=0.01)
    with pytest.raises(ValueError, match="every class has one row"):
        ClassDensities.fit(torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
