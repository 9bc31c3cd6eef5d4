"""Smooth-AP, ROADMAP and the recall surrogate: published values, slow loops, limits."""

from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases, load_golden
from tests.criteria import fixture
from tests.criteria.fixture import LABELS
from tests.criteria.made import made
from tests.methods.laws import normal
from vmf_embeddings.criteria import soft_ranks
from vmf_embeddings.criteria.roadmap import above_step, calibration, unit_step
from vmf_embeddings.criteria.soft_ranks import average_precision_loss, rankings

X = fixture.embeddings()
GOLDEN = load_golden("dm_rank_losses")
PUBLISHED = {"count_query": True}
SHAPES = {"temperature": "tau", "slope": "rho", "offset": "offset", "delta": "delta"}
NAMES = ("smooth_ap", "recall_at_k", "roadmap")


def published(case, row):
    """The criterion with the options of a golden row."""
    value = {k: float(GOLDEN[f"{case}/{row}/{k}"]) for k in ("tau", "rho") if has(case, row, k)}
    if row.startswith("recall"):
        ks, warm = (GOLDEN[f"{case}/{row}/{k}"].tolist() for k in ("k_values", "k_temperatures"))
        options = {"k_values": ks, "k_temperature": warm, "temperature": value["tau"]}
        return made("recall_at_k", **PUBLISHED, **options)
    if "rho" in value:
        keys = SHAPES | {"start": "start"}
        options = {key: float(GOLDEN[f"{case}/{row}/{k}"]) for key, k in keys.items()}
        return made("roadmap", **PUBLISHED, calibration_weight=0.0, **options)
    return made("smooth_ap", **PUBLISHED, temperature=value["tau"])


def has(case, row, key):
    return f"{case}/{row}/{key}" in GOLDEN


ROWS = ("smooth_ap", "smooth_ap_tau0.1", "roadmap_smooth_ap", "sup_ap", "sup_ap_inat")
ROWS += ("recall_at_k", "recall_at_1", "calibration")


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("case", cases(GOLDEN))
def test_with_the_query_counted_values_and_gradients_are_those_of_published_code(case, row):
    raw = torch.tensor(GOLDEN[f"{case}/raw"]).double().requires_grad_()
    x, labels = normalize(raw, dim=-1), torch.tensor(GOLDEN[f"{case}/targets"])
    if row == "calibration":
        margins = (float(GOLDEN[f"{case}/{row}/{k}_margin"]) for k in ("pos", "neg"))
        loss = calibration(x @ x.T, labels, *margins)
    else:
        loss = published(case, row)(x, labels)
    loss.backward()
    assert loss.item() == pytest.approx(float(GOLDEN[f"{case}/{row}/ref_loss"]), rel=1e-10)
    wanted = torch.tensor(GOLDEN[f"{case}/{row}/ref_grad_raw"])
    torch.testing.assert_close(raw.grad, wanted, rtol=1e-9, atol=1e-12 * float(wanted.abs().max()))


@pytest.mark.parametrize("count_query", (False, True))
@pytest.mark.parametrize("case", cases(GOLDEN))
def test_smooth_ap_at_a_small_temperature_is_one_minus_the_mean_average_precision(
    case, count_query
):
    x = normalize(torch.tensor(GOLDEN[f"{case}/raw"]).double(), dim=-1)
    labels = torch.tensor(GOLDEN[f"{case}/targets"])
    found = made("smooth_ap", temperature=1e-9, count_query=count_query)(x, labels)
    key = "exact_one_minus_map" + "_self_counted" * count_query
    assert found.item() == pytest.approx(float(GOLDEN[f"{case}/{key}"]), rel=1e-9)


def test_the_recall_surrogate_at_small_temperatures_is_the_share_of_positives_found():
    labels = torch.arange(40) % 7
    x = normalize(normal(40, 5) + normal(7, 5, seed=1)[labels], dim=-1)
    criterion = made("recall_at_k", k_values=[1], temperature=1e-9, k_temperature=1e-9)
    order = (x @ x.T).fill_diagonal_(-2).argsort(1, descending=True)[:, 0]
    found = (labels[order] == labels).double()
    # at rank k exactly, sigmoid((k - R) / t) stays at 1/2
    assert criterion(x, labels).item() == pytest.approx(1 - 0.5 * found.mean().item(), abs=1e-9)


def slow_ranks(similarity, labels, q, step_positive, step_other, query_counts):
    """(R_P, R) of every positive of a query, by a loop."""
    rows = [j for j in range(len(labels)) if j != q or query_counts]
    positives = [j for j in rows if labels[j] == labels[q]]
    for i in positives:
        first = rank = 1.0
        for j in rows:
            difference = similarity[q, j] - similarity[q, i]
            if j == i:
                continue
            if j in positives:
                first, rank = (
                    first + step_positive(difference),
                    rank + step_positive(difference),
                )
            else:
                rank = rank + step_other(difference)
        yield first, rank


@pytest.mark.parametrize("positives", ("step", "soft"))
@pytest.mark.parametrize("count_query", (False, True))
def test_roadmap_equals_a_slow_loop_where_classes_are_unequal(positives, count_query):
    shape = {"temperature": 0.1, "slope": 3.0, "offset": 1.4, "delta": 0.2, "start": 0.5}
    step = soft_ranks.sigmoid_step(0.1) if positives == "soft" else unit_step
    other, similarity, losses = partial(above_step, **shape), X @ X.T, []
    for q in range(12):
        pairs = list(slow_ranks(similarity, LABELS, q, step, other, count_query))
        if pairs:
            losses.append(1 - sum(first / rank for first, rank in pairs) / len(pairs))
    options = shape | {"positives": positives, "count_query": count_query}
    criterion = made("roadmap", calibration_weight=0.0, **options)
    torch.testing.assert_close(criterion(X, LABELS), torch.stack(losses).mean())


@pytest.mark.parametrize("count_query", (False, True))
def test_the_recall_surrogate_equals_a_slow_loop_where_classes_are_unequal(count_query):
    similarity, losses = X @ X.T, []
    for q in range(12):
        rows = [j for j in range(12) if j != q or count_query]
        positives = [i for i in range(12) if i != q and LABELS[i] == LABELS[q]]
        recalls = []
        for k, warmth in ((1, 0.5), (3, 2.0)):
            inside = 0.0
            for i in positives:
                rank = 1.0
                for j in rows:
                    if j != i:
                        rank = rank + torch.sigmoid((similarity[q, j] - similarity[q, i]) / 0.1)
                inside = inside + torch.sigmoid((k - rank) / warmth)
            if positives:
                recalls.append(inside.clamp_max(k) / min(k, len(positives)))
        if recalls:
            losses.append(1 - sum(recalls) / 2)
    options = {"k_values": [1, 3], "k_temperature": [0.5, 2.0], "temperature": 0.1}
    found = made("recall_at_k", count_query=count_query, **options)(X, LABELS)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_a_perfect_ranking_of_one_positive_keeps_half_of_the_recall_surrogate():
    x = torch.eye(3, dtype=torch.float64).repeat_interleave(2, 0)
    criterion = made("recall_at_k", k_values=[1], temperature=1e-3)
    assert criterion(x, torch.arange(6) // 2).item() == pytest.approx(0.5, abs=1e-9)
    assert made("smooth_ap")(x, torch.arange(6) // 2).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_queries_give_the_loss_and_the_gradient_of_all_at_once(name, monkeypatch):
    criterion, found = made(name), []
    for block in (2**22, 60):
        monkeypatch.setattr(soft_ranks, "BLOCK", block)
        x = X.clone().requires_grad_()
        loss = criterion(x, LABELS)
        loss.backward()
        found.append((loss.detach(), x.grad))
    assert 60 // (12 * 2) < 12  # several blocks
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(name):
    # comparisons of positives by a step have none: their differences are kept away from 0
    criterion = made(name, temperature=0.1)
    x = X[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: criterion(rows, LABELS[:8]), x, eps=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_unequal_classes_in_another_order_have_the_same_loss(name):
    criterion, order = made(name), torch.randperm(12, generator=torch.manual_seed(0))
    moved = criterion(X[order], LABELS[order])
    torch.testing.assert_close(moved, criterion(X, LABELS), rtol=1e-12, atol=0)


def test_a_negative_far_above_a_positive_has_a_gradient_in_roadmap_alone():
    x = normalize(torch.tensor([[1.0, 0.0], [-0.8, 0.6], [0.2, 0.98]]).double(), dim=-1)
    labels, slopes = torch.tensor([0, 0, 1]), {}
    for name in ("smooth_ap", "roadmap"):
        rows = x.clone().requires_grad_()
        made(name, **({"calibration_weight": 0.0} if name == "roadmap" else {}))(
            rows, labels
        ).backward()
        slopes[name] = rows.grad.abs().max().item()
    assert slopes["smooth_ap"] < 1e-9 < 1e-3 < slopes["roadmap"]


def test_a_query_without_positives_has_average_precision_0_and_is_left_out():
    lists = rankings(X @ X.T, LABELS)
    losses = average_precision_loss(lists, unit_step, unit_step)
    assert losses[LABELS == 5].tolist() == [1.0]
    keep = LABELS != 5
    one = made("smooth_ap")(X, torch.where(keep, LABELS, 9))
    torch.testing.assert_close(one, made("smooth_ap")(X, LABELS))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("recall_at_k", {"k_values": []}, "k_values"),
        ("recall_at_k", {"k_temperature": [1.0, 2.0]}, "k_temperature"),
        ("smooth_ap", {"temperature": 0}, "temperature"),
        ("roadmap", {"positives": "hard"}, "positives"),
    ],
)
def test_unusable_values_are_refused(name, options, words):
    with pytest.raises(Exception, match=words):
        made(name, **options)
