"""CIDER: published values, its limits, prototypes as state."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases, load_golden
from tests.criteria import fixture
from tests.criteria.fixture import LABELS
from tests.criteria.made import made
from tests.methods.laws import normal
from vmf_embeddings.criteria.cider import UPDATES, dispersion, moved_prototypes

X = fixture.embeddings()
GOLDEN = load_golden("dm_cider")
BASE_TEMPERATURE = 0.07  # of the published code, hidden in its weight of compactness


def golden(case, key):
    return torch.tensor(GOLDEN[f"{case}/{key}"]).double()


def published(case, **options):
    temperature = float(GOLDEN[f"{case}/temperature"])
    w = float(GOLDEN[f"{case}/w"]) * temperature / BASE_TEMPERATURE
    known = {"temperature": temperature, "momentum": float(GOLDEN[f"{case}/proto_m"]), "w": w}
    prototypes = golden(case, "prototypes")
    criterion = made("cider", *prototypes.shape, **(known | {"update": "sequential"} | options))
    criterion.prototypes = prototypes
    return criterion


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("case", cases(GOLDEN))
def test_row_after_row_it_is_the_published_loss(case, reverse):
    criterion, raw = published(case), golden(case, "raw").requires_grad_()
    labels = torch.tensor(GOLDEN[f"{case}/targets"])
    if reverse:
        criterion(normalize(raw, dim=1).flip(0), labels.flip(0))
        found = dispersion(criterion.prototypes, criterion.temperature)
        assert found.item() == pytest.approx(
            golden(case, "ref_dispersion_reversed_batch").item(), rel=1e-9
        )
        wanted = golden(case, "prototypes_after_reversed")
    else:
        loss = criterion(normalize(raw, dim=1), labels)
        loss.backward()
        assert loss.item() == pytest.approx(golden(case, "ref_total").item(), rel=1e-9)
        slope = golden(case, "ref_grad_total")
        torch.testing.assert_close(raw.grad, slope, rtol=1e-8, atol=1e-9 * float(slope.abs().max()))
        wanted = golden(case, "prototypes_after")
    torch.testing.assert_close(criterion.prototypes, wanted, rtol=1e-8, atol=1e-9)


def test_the_weight_is_that_of_compactness_without_hidden_factor():
    case = cases(GOLDEN)[0]
    x, labels = normalize(golden(case, "raw"), dim=1), torch.tensor(GOLDEN[f"{case}/targets"])
    one, other = (published(case, w=w)(x, labels) for w in (1.0, 3.0))
    wanted = golden(case, "exact_compactness_without_base_temperature")
    torch.testing.assert_close((other - one) / 2, wanted, rtol=1e-9, atol=0)


def test_the_closed_form_in_the_order_of_the_batch_is_row_after_row_without_normalising():
    prototypes = normalize(normal(6, 8), dim=1)
    moved = list(prototypes)
    for row, label in zip(X, LABELS.tolist(), strict=True):
        moved[label] = 0.7 * moved[label] + 0.3 * row
    found = moved_prototypes(prototypes, X, LABELS, 0.7, "batch")
    torch.testing.assert_close(found, normalize(torch.stack(moved), dim=1))


@pytest.mark.parametrize("update", UPDATES)
def test_one_row_per_class_moves_prototypes_alike(update):
    prototypes, labels = normalize(normal(6, 8), dim=1), torch.tensor([3, 0, 5])
    found = moved_prototypes(prototypes, X[:3], labels, 0.9, update)
    wanted = prototypes.clone()
    wanted[labels] = normalize(0.9 * prototypes[labels] + 0.1 * X[:3], dim=1)
    torch.testing.assert_close(found, wanted)


def test_the_mean_ignores_order_and_the_first_rows_of_a_class_are_its_prototype():
    none, order = torch.zeros(6, 8).double(), torch.randperm(12, generator=torch.manual_seed(0))
    found = moved_prototypes(none, X, LABELS, 0.95, "mean")
    again = moved_prototypes(none, X[order], LABELS[order], 0.95, "mean")
    torch.testing.assert_close(found, again)
    torch.testing.assert_close(found[0], normalize(X[LABELS == 0].mean(0), dim=0))


def test_two_prototypes_are_dispersed_by_their_cosine_and_a_simplex_is_the_best():
    pair = normalize(normal(2, 8), dim=1)
    torch.testing.assert_close(dispersion(pair, 0.1), pair[0] @ pair[1] / 0.1)
    corners = normalize(torch.eye(5).double() - 0.2, dim=1)
    assert dispersion(corners, 0.1).item() == pytest.approx(-1 / (4 * 0.1))
    assert dispersion(normalize(normal(5, 5), dim=1), 0.1) > -1 / (4 * 0.1)
    assert dispersion(pair[:1], 0.1) == 0


def test_with_momentum_1_prototypes_stay_and_dispersion_has_no_gradient():
    prototypes = normalize(normal(6, 8), dim=1)
    x = X.clone().requires_grad_()
    moved = moved_prototypes(prototypes, x, LABELS, 1.0, "mean")
    torch.testing.assert_close(moved, prototypes)
    dispersion(moved, 0.1).backward()
    assert x.grad.abs().max() < 1e-15


def test_gradients_are_finite_differences_of_dispersion():
    prototypes, x = normalize(normal(6, 8), dim=1), X.clone().requires_grad_()
    for update in UPDATES:
        assert torch.autograd.gradcheck(
            lambda rows, u=update: dispersion(
                moved_prototypes(prototypes, rows, LABELS, 0.5, u), 0.1
            ),
            x,
        )


def test_prototypes_are_in_the_state_and_stay_in_evaluation_mode():
    one, other = made("cider"), made("cider")
    one(X, LABELS)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(X.flip(0), LABELS.flip(0)), other(X.flip(0), LABELS.flip(0)))
    before = one.prototypes.clone()
    one.eval()(X, LABELS)
    assert torch.equal(one.prototypes, before)
    assert one.logits(X).argmax(1).shape == (12,)


def test_compactness_alone_is_a_softmax_of_the_moved_prototypes():
    criterion = made("cider", w=1.0)
    loss = criterion(X, LABELS)
    logits = criterion.logits(X)
    compact = torch.nn.functional.cross_entropy(logits, LABELS)
    assert loss.item() == pytest.approx((compact + dispersion(criterion.prototypes, 0.1)).item())
    assert math.isfinite(loss.item())
