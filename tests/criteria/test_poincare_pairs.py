"""Pairs by distance in the Poincare ball: published values, a slow loop, limits, stored rows."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases, load_golden
from tests.criteria import fixture
from tests.criteria.fixture import LABELS, PAIRED
from tests.criteria.made import made
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.criteria.poincare_pairs import clip_norm, column_losses, pair_losses
from vmf_embeddings.geometry import Cosine, Poincare
from vmf_embeddings.hyperbolic import distance
from vmf_embeddings.methods.dml import DML

X = fixture.embeddings()
GOLDEN = load_golden("dm_rank_losses")
PUBLISHED = {"pairs": "columns", "reduction": "sum"}


def published(case, row):
    options = {k: float(GOLDEN[f"{case}/{row}/{k}"]) for k in ("c", "temperature", "clip_r")}
    return made("poincare_pairs", **PUBLISHED, **(options | {"clip_r": options["clip_r"] or None}))


def rows_of(case, row):
    raw = torch.tensor(GOLDEN[f"{case}/raw"]).double()
    return (raw * float(GOLDEN[f"{case}/{row}/raw_factor"])).requires_grad_()


@pytest.mark.parametrize("row", ("hyp_c0", "hyp_c0.1", "hyp_c1"))
@pytest.mark.parametrize("case", cases(GOLDEN))
def test_columns_summed_over_pairs_are_the_published_loss_up_to_its_epsilons(case, row):
    criterion, raw = published(case, row), rows_of(case, row)
    labels, key = torch.tensor(GOLDEN[f"{case}/targets"]), f"{case}/{row}"
    loss = criterion(criterion.prepare_embeddings(raw), labels)
    loss.backward()
    # published code adds 1e-5 to norms and denominators, and clips artanh
    near = {"hyp_c0": 1e-12, "hyp_c0.1": 1e-4, "hyp_c1": 2e-2}[row]
    wanted = float(GOLDEN[f"{key}/ref_loss_sum_over_ordered_pairs"])
    assert loss.item() == pytest.approx(wanted, rel=near)
    slope = torch.tensor(GOLDEN[f"{key}/ref_grad_raw"])
    torch.testing.assert_close(
        raw.grad, slope, rtol=0, atol=2 * near * float(slope.abs().max()) + 1e-14
    )


@pytest.mark.parametrize("row", ("hyp_c0.1", "hyp_c1"))
@pytest.mark.parametrize("case", cases(GOLDEN))
def test_from_the_published_points_the_loss_is_that_of_exact_distances(case, row):
    value = {k: float(GOLDEN[f"{case}/{row}/{k}"]) for k in ("c", "temperature")}
    points = torch.tensor(GOLDEN[f"{case}/{row}/ref_points"])
    labels = torch.tensor(GOLDEN[f"{case}/targets"])
    losses = column_losses(-distance(points, points, value["c"]) / value["temperature"], labels)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    total = losses[same].sum() / len(labels.unique())
    wanted = float(GOLDEN[f"{case}/{row}/exact_loss_sum_over_ordered_pairs"])
    assert total.item() == pytest.approx(wanted, rel=1e-10)


def test_all_and_columns_equal_slow_loops_where_classes_are_unequal():
    logits = 3 * (X @ X.T)
    number = [int((LABELS[:a] == LABELS[a]).sum()) for a in range(12)]
    every, columns = pair_losses(logits, LABELS), column_losses(logits, LABELS)
    for a in range(12):
        for p in range(12):
            if a == p or LABELS[a] != LABELS[p]:
                continue
            others = [n for n in range(12) if LABELS[n] != LABELS[a]]
            few = [n for n in others if number[n] in (number[a], number[p])]
            for found, rows in ((every, others), (columns, few)):
                wanted = torch.stack([logits[a, p], *logits[a, rows]]).logsumexp(0) - logits[a, p]
                torch.testing.assert_close(found[a, p], wanted)


def test_two_columns_of_a_batch_are_all_its_rows():
    options = {"reduction": "mean", "c": 1.0}
    one, other = (made("poincare_pairs", pairs=p, **options)(X, PAIRED) for p in ("all", "columns"))
    torch.testing.assert_close(one, other)


def test_a_flat_ball_compares_by_twice_the_euclidean_distance():
    logits = -2 * torch.cdist(X, X) / 0.2
    same = (LABELS[:, None] == LABELS).fill_diagonal_(False)
    wanted = pair_losses(logits, LABELS)[same].mean()
    found = made("poincare_pairs", c=1e-9, clip_r=None)(X, LABELS)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("options", ({}, {"c": 0.0}, {"pairs": "columns", "reduction": "sum"}))
def test_gradients_are_finite_differences(options):
    criterion = made("poincare_pairs", **options)
    x = (2 * X).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: criterion(rows, LABELS), x)


def test_stored_embeddings_are_clipped_and_compared_as_in_training():
    method = DML(TinyArch(5, 3), made("poincare_pairs", c=1.0).float(), None).double()
    method.arch.projection.weight.data *= 50
    stored = method.embed(normal(24, 1, 4, 4))
    assert stored.detach().norm(dim=1).max() == pytest.approx(2.3)
    assert method.geometry == Poincare(1.0) and not method.has_logits
    points = method.geometry.project(stored)
    slow = pair_losses(-distance(points, points, 1.0) / 0.2, torch.arange(24) % 5)
    same = (torch.arange(24)[:, None] % 5 == torch.arange(24) % 5).fill_diagonal_(False)
    torch.testing.assert_close(method.loss(stored, torch.arange(24) % 5), slow[same].mean())


def test_on_the_sphere_rows_are_compared_by_cosine_and_nothing_is_clipped():
    criterion = made("poincare_pairs", c=0.0)
    assert criterion.geometry == Cosine()
    assert torch.equal(criterion.as_stored(9 * X), 9 * X)
    assert clip_norm(normalize(X), 2.3).allclose(normalize(X))
