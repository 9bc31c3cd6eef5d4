"""Laws and golden numbers of risk against coverage."""

import itertools

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.metrics.binary import auroc
from vmf_embeddings.metrics.selective import risk_coverage, weighted_aurc

GOLDEN = load_golden("uncertainty")
CURVES = sorted(key.removesuffix("/exact_aurc") for key in GOLDEN if key.endswith("/exact_aurc"))
LEVELS = {"coverage_at_risk": (0.01, 0.05, 0.1, 0.2), "risk_at_coverage": (0.5, 0.8, 0.9, 0.95)}


def rows(n=120, distinct=15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.randint(0, distinct, (n,), generator=generator).double()
    return confidence, torch.rand(n, generator=generator) > (confidence + 2) / (distinct + 4)


def golden_rows(case):
    """Confidence and wrong rows of a golden curve."""
    parts = case.split("/")
    if len(parts) == 1:
        return GOLDEN[f"{case}/confidence"], GOLDEN[f"{case}/wrong"]
    set_, confidence, kind = parts
    right = GOLDEN[f"{set_}/{'recall1_hit' if kind == 'retrieval' else 'classified_right'}"]
    return GOLDEN[f"{set_}/{confidence}/confidence"], ~right


@pytest.mark.parametrize("case", CURVES)
def test_golden_numbers(case):
    curve = risk_coverage(*golden_rows(case))
    found = {
        "aurc": curve.aurc,
        "aurc_optimal": curve.lowest_aurc,
        "e_aurc": curve.e_aurc,
        "normalised_aurc": curve.normalised_aurc,
        "augrc": curve.augrc,
        "auroc": auroc(golden_rows(case)[0], ~np.asarray(golden_rows(case)[1])),
    }
    found |= {
        f"{name}_{level:g}": getattr(curve, name)(level)
        for name, levels in LEVELS.items()
        for level in levels
    }
    for name, value in found.items():
        expected = float(GOLDEN[f"{case}/exact_{name}"])
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("case", [case for case in CURVES if case.startswith("u1/")])
def test_golden_curves(case):
    curve = risk_coverage(*golden_rows(case))
    for name, values in (
        ("threshold", curve.confidence),
        ("coverage", curve.coverage),
        ("risk", curve.risk),
    ):
        np.testing.assert_allclose(values, GOLDEN[f"{case}/curve_{name}"], rtol=1e-12)


def test_ties_are_the_mean_over_all_orders():
    confidence, wrong = torch.tensor([3.0, 1.0, 1.0, 1.0, 0.0]), torch.tensor([0, 1, 0, 0, 1])
    orders = [
        np.mean([wrong[[0, *order, 4][:k]].double().mean() for k in range(1, 6)])
        for order in itertools.permutations((1, 2, 3))
    ]
    assert risk_coverage(confidence, wrong).aurc == pytest.approx(np.mean(orders), abs=1e-14)


def test_the_area_of_wrong_rows_follows_from_the_auroc():
    confidence, wrong = rows()
    curve, area = risk_coverage(confidence, wrong), auroc(confidence, ~wrong)
    r = curve.error
    assert curve.augrc == pytest.approx((1 - area) * r * (1 - r) + r**2 / 2, abs=1e-14)


def test_a_constant_confidence_has_the_error_as_area():
    _, wrong = rows()
    curve = risk_coverage(torch.ones(len(wrong)), wrong)
    assert curve.aurc == pytest.approx(float(wrong.double().mean()), abs=1e-14)
    assert curve.normalised_aurc == pytest.approx(1, abs=1e-12)


def test_a_perfect_confidence_has_the_lowest_area():
    _, wrong = rows()
    curve = risk_coverage(-wrong.double() + 0.001 * torch.rand(len(wrong)), wrong)
    assert curve.e_aurc == pytest.approx(0, abs=1e-14)
    assert curve.lowest_aurc <= risk_coverage(*rows()).aurc


def test_the_order_of_rows_and_rising_maps_change_nothing():
    confidence, wrong = rows()
    order = torch.randperm(len(wrong), generator=torch.Generator().manual_seed(1))
    expected = risk_coverage(confidence, wrong)
    for other in (
        risk_coverage(confidence[order], wrong[order]),
        risk_coverage(torch.exp(confidence), wrong),
    ):
        assert (other.aurc, other.augrc) == (expected.aurc, expected.augrc)


def test_weights_count_rows_that_often():
    confidence, wrong = rows(40, seed=2)
    weights = torch.randint(0, 4, (6, 40), generator=torch.Generator().manual_seed(3))
    found = weighted_aurc(confidence, wrong)(weights)
    for own, value in zip(weights, found.tolist(), strict=True):
        repeated = confidence.repeat_interleave(own), wrong.repeat_interleave(own)
        assert value == pytest.approx(risk_coverage(*repeated).aurc, abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_risk_at_coverage_is_that_of_the_surest_rows(share):
    generator = torch.Generator().manual_seed(4)
    confidence = torch.randperm(77, generator=generator).double()
    wrong = torch.rand(77, generator=generator) > 0.6
    surest = confidence.argsort(descending=True)[: int(np.ceil(share * 77))]
    found = risk_coverage(confidence, wrong).risk_at_coverage(share)
    assert found == pytest.approx(float(wrong[surest].double().mean()), abs=1e-14)
