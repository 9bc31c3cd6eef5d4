"""Criteria on draws of distributions: published values, slow loops, limits, where they start."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn.functional import cross_entropy, logsigmoid, normalize

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.criteria import fixture
from tests.criteria.fixture import LABELS, PAIRED
from tests.criteria.made import made
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.criteria.distributions import mean_of_rows
from vmf_embeddings.criteria.gram import gram
from vmf_embeddings.criteria.mcinfonce import ESTIMATORS, pair_losses
from vmf_embeddings.criteria.mean_sigmoid import log_match, log_mean_sigmoid
from vmf_embeddings.directional import mean_cosine_inverse, sample
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.miners.base import others

X = fixture.embeddings()
GOLDEN = load_golden("dm_mcinfonce_url")
NAMES = ("mcinfonce", "hib")


def golden(case, key):
    return torch.from_numpy(GOLDEN[f"{case}/{key}"].astype(float))


@pytest.fixture(params=("url0", "url1"))
def case(request):
    return request.param


def labels_of(case, kind):
    """Of classes, or of two views of each image."""
    targets = torch.from_numpy(GOLDEN[f"{case}/targets"])
    return targets if kind == "sup" else torch.arange(len(targets)) // 2


def cosines_of(case):
    draws = golden(case, "samples")
    return draws @ draws.mT


@pytest.mark.parametrize("kind", ("sup", "ssl"))
def test_batch_losses_are_the_golden_ones(case, kind):
    labels, scale = labels_of(case, kind), float(GOLDEN[f"{case}/kappa"])
    contrast = made("mcinfonce")
    contrast.log_temperature.fill_(-math.log(scale))
    found = contrast.loss_of_pairs(cosines_of(case), labels)
    wanted = golden(case, f"proper_mcinfonce_{kind}/exact_loss")
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    matching = made("hib", offset=float(GOLDEN[f"{case}/hib_b"]))
    matching.log_scale.data.fill_(math.log(scale))
    found = matching.loss_of_pairs(cosines_of(case), labels)
    torch.testing.assert_close(
        found, golden(case, f"proper_hib_{kind}/exact_loss"), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("key", ("icml0", "icml1", "icml2"))
def test_one_pair_and_its_negatives_have_the_published_loss_and_gradients(key):
    parts = [golden(key, f"samples_{part}").requires_grad_() for part in ("ref", "pos", "neg")]
    scale, rows = golden(key, "kappa").requires_grad_(), torch.cat(parts, 2)  # [S, B, 2 + n, D]
    labels = torch.tensor([0, 0, *range(1, rows.shape[2] - 1)])
    losses = [
        pair_losses(scale * rows[:, b] @ rows[:, b].mT, labels)[0, 1] for b in range(rows.shape[1])
    ]
    loss = torch.stack(losses).mean()
    loss.backward()
    torch.testing.assert_close(loss, golden(key, "mcinfonce/exact_loss"), rtol=1e-10, atol=0)
    for leaf, part in zip((*parts, scale), ("ref", "pos", "neg", "kappa"), strict=True):
        wanted = golden(key, f"mcinfonce/ref_grad_{part}")
        nearly = 1e-9 * float(wanted.abs().max())
        torch.testing.assert_close(leaf.grad, wanted, rtol=0, atol=nearly)


@pytest.mark.parametrize("kind", ("sup", "ssl"))
def test_the_published_program_is_another_formula_and_unbounded_below(case, kind):
    """-log mean_s (1 + sum_p e^l) / (1 + sum_n e^l): the row itself counts as e^0 in both sums."""
    labels, scale = labels_of(case, kind), float(GOLDEN[f"{case}/kappa"])
    same, powers = labels[:, None] == labels, (scale * cosines_of(case)).exp()
    positive, negative = ((powers * mask).sum(-1) for mask in (others(same), ~same))
    found = -((1 + positive) / (1 + negative)).mean(0).log().mean()
    published = golden(case, f"mcinfonce_{kind}/ref_loss")
    torch.testing.assert_close(found, published, rtol=1e-10, atol=0)
    if kind == "ssl":  # views alike, other images far: no probability is above 1
        assert published < 0


def test_both_losses_equal_slow_loops_where_classes_are_unequal():
    draws = normalize(normal(5, 12, 8), dim=-1)
    logits, rows = 3 * draws @ draws.mT, range(12)
    contrast, match, differ = [], [], []
    for a in rows:
        far = [n for n in rows if LABELS[n] != LABELS[a]]
        near = [p for p in rows if p != a and LABELS[p] == LABELS[a]]
        negative = logits[:, a, far].exp().mean(-1)
        fractions = [logits[:, a, p].exp() for p in near]
        if near:
            contrast.append(np.mean([-(f / (f + negative)).mean().log().item() for f in fractions]))
            match.append(np.mean([-logits[:, a, p].sigmoid().mean().log().item() for p in near]))
        differ.append(np.mean([-(1 - logits[:, a, n].sigmoid().mean()).log().item() for n in far]))
    cosines = draws @ draws.mT
    found = made("mcinfonce", temperature=1 / 3).loss_of_pairs(cosines, LABELS)
    assert found.item() == pytest.approx(np.mean(contrast), rel=1e-6)
    found = made("hib", scale=3.0, offset=0.0).loss_of_pairs(cosines, LABELS)
    assert found.item() == pytest.approx(np.mean(match) + np.mean(differ), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_given_draws_ignores_batch_order(name):
    draws, order = normalize(normal(4, 12, 8), dim=-1), torch.randperm(12)
    one, other = (
        made(name).loss_of_pairs(draws[:, rows] @ draws[:, rows].mT, PAIRED[rows])
        for rows in (torch.arange(12), order)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sure_distributions_make_it_infonce_with_the_mean_of_negatives(estimator):
    criterion = made("mcinfonce", temperature=0.5, estimator=estimator)
    torch.manual_seed(0)
    found = criterion(1e12 * X, PAIRED)
    cosine, losses = 2 * X @ X.T, []
    for a in range(12):
        partner = a ^ 1
        far = cosine[a, PAIRED != PAIRED[a]] - math.log(10)
        line = torch.cat([cosine[a, partner : partner + 1], far])
        losses.append(cross_entropy(line[None], torch.tensor([0])))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-5, atol=0)


def test_the_mean_of_logarithms_is_an_upper_bound_that_one_draw_meets():
    draws = normalize(normal(6, 12, 8), dim=-1)
    logits = 8 * draws @ draws.mT
    inside, outside = (pair_losses(logits, LABELS, e) for e in ESTIMATORS)
    pairs = others(LABELS[:, None] == LABELS)
    assert (outside[pairs] > inside[pairs]).all()
    inside, outside = (pair_losses(logits[:1], LABELS, e) for e in ESTIMATORS)
    torch.testing.assert_close(inside[pairs], outside[pairs])


def test_matching_is_finite_where_the_published_one_has_no_logarithm():
    # published: log(1 - m - 1e-5) of the diagonal, NaN once the logit is above 11.5
    logits = torch.tensor([[28.9, -400.0, 400.0]]).requires_grad_()
    match, differ = log_mean_sigmoid(logits), log_mean_sigmoid(-logits)
    (match + differ).sum().backward()
    assert match.isfinite().all() and differ.isfinite().all() and logits.grad.isfinite().all()
    torch.testing.assert_close(match, logsigmoid(logits[0]))


@pytest.mark.parametrize("shape", ((1, 3), (5,), (4, 9, 11)))
def test_the_mean_of_sigmoids_equals_its_formula_with_gradients(shape, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.criteria.mean_sigmoid.CPU_TILE", 20)  # many tiles
    logits = (8 * normal(*shape)).requires_grad_()
    found, wanted = log_mean_sigmoid(logits), logits.sigmoid().mean(0).log()
    outer = normal(*shape[1:], seed=1) if len(shape) > 1 else torch.ones(()).double()
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(value, logits, outer)[0] for value in (found, wanted)]
    torch.testing.assert_close(*slopes)


def test_probabilities_of_matches_equal_their_formula_with_gradients(monkeypatch):
    monkeypatch.setattr("vmf_embeddings.criteria.mean_sigmoid.CPU_TILE", 20)  # many tiles
    scale, offset = torch.tensor(9.0).double(), torch.tensor(-2.0).double()
    leaves = [t.requires_grad_() for t in (normal(4, 3, 7), scale, offset)]
    same, outer = normal(3, 7, seed=1) > 0, normal(3, 7, seed=2)

    def plain(cosines, scale, offset):
        match = (scale * cosines + offset).sigmoid().mean(0)
        return torch.where(same, match, 1 - match).log()

    values = [f(*leaves) for f in (lambda *x: log_match(*x, same), plain)]
    torch.testing.assert_close(*values)
    found, wanted = (torch.autograd.grad(value, leaves, outer) for value in values)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_inner_products_have_the_gradients_of_a_product():
    rows = normal(2, 5, 3).requires_grad_()
    outer = normal(2, 5, 5, seed=1)
    found, wanted = (
        torch.autograd.grad(table, rows, outer)[0] for table in (gram(rows), rows @ rows.mT)
    )
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradgradcheck(gram, rows)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_losses_of_all_pairs_and_of_those_of_one_class_are_equal(estimator):
    draws = normalize(normal(4, 12, 8), dim=-1)
    logits, same = 8 * draws @ draws.mT, others(LABELS[:, None] == LABELS)
    found = pair_losses(logits, LABELS, estimator)
    dense = torch.compile(pair_losses, backend="eager")(logits, LABELS, estimator)
    torch.testing.assert_close(found[same], dense[same])


def test_a_row_without_partner_counts_in_no_mean():
    mask = torch.tensor([[True, True], [False, False]])
    assert mean_of_rows(torch.tensor([[1.0, 3.0], [8.0, 9.0]]), mask) == 2
    assert mean_of_rows(torch.ones(2, 2), mask & False) == 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_direction_and_concentration(name):
    x = (30 * X).requires_grad_()
    torch.manual_seed(0)
    made(name)(x, PAIRED).backward()
    along = (x.grad * X).sum(-1)
    across = x.grad - along[:, None] * X
    assert (along.abs() > 0).all() and (across.norm(dim=-1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_start_with_the_concentration_of_the_asked_confidence(name):
    method = DML(TinyArch(6, 8), made(name, image_confidence=0.7).float(), None)
    images = normal(40, 1, 4, 4).float()
    method.train().init_from_data(lambda: images.split(40))
    norms = method.embed(images).norm(dim=-1)
    wanted = mean_cosine_inverse(torch.tensor(0.7), 8)
    torch.testing.assert_close(norms.square().mean().sqrt(), wanted)
    assert "criterion.kappa_scale" in method.state_dict()
    loss_fn = vmf.objective(name, embedding_dim=8, image_confidence=0.7)
    rows = 3 * normal(40, 8).float()  # in a loop of one's own, by embeddings
    kappas = loss_fn.prepare(rows).embed(rows).norm(dim=-1)
    torch.testing.assert_close(kappas.square().mean().sqrt(), wanted)


@pytest.mark.parametrize(
    ("n_steps", "least"), [(300, 0.7), pytest.param(1000, 0.9, marks=pytest.mark.slow)]
)
def test_concentrations_get_the_order_of_those_that_the_labels_come_from(n_steps, least):
    """Rows of 24 images learn freely; an image's label is the prototype nearest to a draw of it."""
    torch.manual_seed(0)
    directions, prototypes = normalize(torch.randn(24, 10)), normalize(torch.randn(20, 10))
    kappas = torch.logspace(0.3, 2, 24)
    rows = torch.cat([10 * directions, 50 * prototypes]).requires_grad_()
    criterion = made("mcinfonce", temperature=0.1).float()
    optimizer = torch.optim.Adam([rows], lr=0.3)
    for _ in range(n_steps):
        seen = sample(directions, kappas, 1)[0]
        labels = torch.cat([(seen @ prototypes.T).argmax(1), torch.arange(20)])
        optimizer.zero_grad()
        criterion(rows, labels).backward()
        optimizer.step()
    learned = rows.detach()[:24].norm(dim=-1)
    assert spearmanr(learned, kappas).statistic > least


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mcinfonce", {"temperature": 0}, "temperature"),
        ("mcinfonce", {"n_samples": 0}, "n_samples"),
        ("mcinfonce", {"estimator": "mean"}, "log_mean, mean_outside"),
        ("hib", {"scale": -1}, "scale"),
        ("hib", {"image_confidence": 1.0}, "image_confidence"),
    ],
)
def test_unusable_values_are_refused_by_their_name(name, options, words):
    with pytest.raises(ValueError, match=words):
        made(name, **options)
