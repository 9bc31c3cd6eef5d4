"""What all of conf/criterion promise: laws, limits, refusals; slow loops of single formulas."""

import doctest
import importlib
import inspect
import math
import pkgutil

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.functional import normalize

from tests.criteria import fixture
from tests.criteria.fixture import LABELS, PAIRED
from tests.criteria.made import CONF, DIM, N_CLASSES, N_FEATURES, NAMES, made, node
from tests.methods.laws import normal
from vmf_embeddings import criteria
from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.assembly.targets import resolve
from vmf_embeddings.criteria.angular import angular
from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.criteria.comparisons import all_triplets, distances, positive_rows
from vmf_embeddings.criteria.histogram import histogram
from vmf_embeddings.criteria.lifted import lifted
from vmf_embeddings.criteria.proxy_anchor import proxy_anchor
from vmf_embeddings.criteria.quadruplet import quadruplet, second_negatives
from vmf_embeddings.criteria.soft_triple import centre_spread
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.miners.base import Triplets

X, FEATURES = fixture.embeddings(), normal(12, N_FEATURES, seed=3).abs()
every_criterion = pytest.mark.parametrize("name", NAMES)


def value(criterion, x=X, labels=LABELS, features=FEATURES):
    torch.manual_seed(0)
    return criterion(criterion.prepare_embeddings(x), labels, features=features)


@every_criterion
def test_yaml_names_its_file_its_paper_and_exactly_the_parameters(name):
    first, *rest = (CONF / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# ") and ("https://" in first or "http://" in first)
    options = [line for line in rest if line.startswith("  ") and line.strip() != "- _self_"]
    assert all(" # " in line for line in options if "_target_" not in line)
    params = node(name).params
    target = resolve(params._target_)
    assert set(inspect.signature(target).parameters) == set(params) - {"_target_"}
    assert OmegaConf.load(CONF / f"{name}.yaml").name == name == made(name).name


@every_criterion
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_loss_is_a_finite_scalar_with_a_gradient(name, dtype):
    criterion, x = made(name).to(dtype), X.to(dtype, copy=True).requires_grad_()
    loss = value(criterion, x, features=FEATURES.to(dtype))
    loss.backward()
    assert loss.shape == () and loss.dtype == dtype and loss.isfinite()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0


@every_criterion
def test_a_gradient_step_lowers_the_loss(name):
    criterion, x = made(name), X.clone().requires_grad_()
    before = value(criterion, x)
    (slope,) = torch.autograd.grad(before, x)
    after = value(criterion, X - 1e-4 * slope / slope.norm())
    assert after < before


@every_criterion
def test_loss_depends_on_the_labels(name):
    criterion = made(name)
    assert not torch.isclose(value(criterion), value(criterion, labels=(LABELS + PAIRED) % 6))


DRAW = ("quadruplet", "mcinfonce", "hib")  # others draw a partner: two rows leave no choice


@pytest.mark.parametrize("name", [n for n in NAMES if n not in DRAW])
def test_loss_ignores_batch_order(name):
    order = torch.tensor([7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 4, 6])
    moved = value(made(name), X[order], PAIRED[order], FEATURES[order])
    torch.testing.assert_close(moved, value(made(name), labels=PAIRED))


@every_criterion
def test_embeddings_of_any_length_are_brought_to_length_1_under_a_cosine(name):
    criterion, scale = made(name), 1 + normal(12, 1).abs()
    same = torch.isclose(value(criterion, scale * X), value(criterion))
    assert same == isinstance(criterion.geometry, Cosine)


@every_criterion
@pytest.mark.parametrize("kind", ("collapsed", "opposite", "one class", "no positives", "aligned"))
def test_extreme_batches_stay_finite_in_float32(name, kind):
    criterion = made(name, dim=8).float()
    x, labels = X.float(), LABELS
    if kind == "collapsed":
        x = x[:1].repeat(12, 1)
    elif kind == "opposite":
        x = torch.where(torch.arange(12)[:, None] % 2 == 0, x[:1], -x[:1])
    elif kind == "one class":
        labels = torch.zeros_like(LABELS)
    elif kind == "no positives":
        x, labels = x[:6], torch.arange(6)
    elif criterion.class_weights is not None:  # every embedding at its proxy
        x = criterion.class_weights.detach()[labels]
    x = x.clone().requires_grad_()
    loss = value(criterion, x, labels, FEATURES[: len(x)].float())
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()
    for parameter in criterion.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@every_criterion
def test_a_state_restores_what_is_learned(name):
    one, other = made(name), made(name)
    other.load_state_dict(one.state_dict())
    assert value(one) == value(other)


@every_criterion
def test_rates_of_their_own_are_for_parameters_of_the_criterion_that_do_not_decay(name):
    criterion = made(name)
    own = {id(p) for p in criterion.parameters()}
    for group in criterion.extra_param_groups():
        assert {id(p) for p in group["params"]} <= own
        assert group["weight_decay"] == 0
        assert len({"lr", "lr_factor"} & group.keys()) <= 1
    if own and criterion.class_weights is not None and name != "s2sd":
        assert criterion.extra_param_groups()


@every_criterion
def test_logits_rank_the_class_whose_vector_is_there_first(name):
    criterion = made(name)
    value(criterion)  # gives classes the prototypes that they have from their first row on
    if name == "soft_triple":  # the mean of far centres may be nearer to another class
        criterion.proxies.data[:] = criterion.proxies.data[:, :1]
    logits = criterion.logits(criterion.prepare_embeddings(X))
    assert criterion.has_logits == (logits is not None) == (criterion.class_weights is not None)
    if logits is not None:
        assert criterion.class_weights.shape == (N_CLASSES, DIM)
        at_proxies = criterion.logits(criterion.prepare_embeddings(criterion.class_weights))
        assert at_proxies.argmax(1).tolist() == list(range(N_CLASSES))


def test_random_weights_start_as_published():
    torch.manual_seed(0)
    proxies = made("proxy_anchor", n_classes=200, dim=64).proxies
    assert proxies.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert made("softmax", n_classes=200, dim=64).proxies.abs().max() <= 1 / 8
    assert made("margin", beta=0.75).beta.tolist() == [0.75] * N_CLASSES


REFUSED = [
    ("proxy_anchor", {"pos_alpha": 0}, "pos_alpha"),
    ("proxy_anchor", {"average": "all"}, "average"),
    ("proxy_anchor", {"lr_factor": -1}, "lr_factor"),
    ("proxy_nca", {"denominator": "own"}, "denominator"),
    ("proxy_nca", {"scale": 0}, "scale"),
    ("contrastive", {"neg_margin": -1}, "neg_margin"),
    ("contrastive", {"variant": "nir"}, "variant"),
    ("margin", {"beta": 0}, "beta"),
    ("multisimilarity", {"alpha": 0}, "alpha"),
    ("softmax", {"temperature": 0}, "temperature"),
    ("supcon", {"temperature": 0}, "temperature"),
    ("arcface", {"angular_margin": 4}, "angular_margin"),
    ("angular", {"alpha": 90}, "alpha"),
    ("histogram", {"n_nodes": 1}, "n_nodes"),
    ("soft_triple", {"n_centres": 0}, "n_centres"),
    ("npair", {"divisor": 0}, "divisor"),
    ("s2sd", {"target_dims": []}, "target_dims"),
    ("s2sd", {"source": node("npair")}, "criterion=npair"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED)
def test_unusable_values_are_refused_by_their_name(name, options, words):
    with pytest.raises(assembly.Refused, match=words), assembly.refusals():
        made(name, **options)


@every_criterion
def test_only_fitting_miners_are_taken_and_the_refusal_names_those_that_fit(name):
    criterion = made(name)
    criterion.check_miner(None)
    fitting = criterion.allowed_miners
    if fitting is None:
        criterion.check_miner("distance")
        return
    for miner in fitting:
        criterion.check_miner(miner)
    with pytest.raises(ValueError, match="miner=" + " or ".join(("none", *fitting))):
        criterion.check_miner("distance")


# formulas against slow loops


def test_lifted_equals_a_slow_loop():
    matrix, losses = distances(X), []
    for a in range(12):
        near = [matrix[a, p] for p in range(12) if p != a and LABELS[p] == LABELS[a]]
        far = [1.0 - matrix[a, n] for n in range(12) if LABELS[n] != LABELS[a]]
        if near:
            total = torch.stack(near).logsumexp(0) + torch.stack(far).logsumexp(0)
            losses.append(total.clamp_min(0))
    torch.testing.assert_close(lifted(matrix, LABELS, 1.0), torch.stack(losses).mean())


def test_angular_equals_a_slow_loop():
    positive, has_positive = positive_rows(PAIRED, None)
    tangent, losses = math.tan(math.radians(40)) ** 2, []
    for a, p in enumerate(positive.tolist()):
        terms = [
            math.exp(4 * tangent * (X[a] + X[p]) @ X[n] - 2 * (1 + tangent) * X[a] @ X[p])
            for n in range(12)
            if PAIRED[n] != PAIRED[a]
        ]
        losses.append(math.log(1 + sum(terms)))
    found = angular(X, PAIRED, positive, has_positive, 40.0)
    assert found.item() == pytest.approx(sum(losses) / 12)


def test_quadruplet_equals_a_slow_loop():
    triplets = all_triplets(LABELS)
    candidates = second_negatives(LABELS, triplets)
    fourth, matrix = candidates.float().argmax(1), distances(X)
    first, second = [], []
    for a, p, n, f in torch.stack([*triplets, fourth]).T.tolist():
        assert LABELS[f] not in (LABELS[a], LABELS[n])
        first.append((matrix[a, p] - matrix[a, n] + 0.3).clamp_min(0))
        second.append((matrix[a, p] - matrix[n, f] + 0.1).clamp_min(0))
    wanted = torch.stack(first).mean() + torch.stack(second).mean()
    found = quadruplet(matrix, triplets, fourth, candidates.any(1), (0.3, 0.1))
    torch.testing.assert_close(found, wanted)


def test_without_a_third_class_a_quadruplet_is_a_triplet_of_distances():
    labels = torch.arange(12) % 2
    triplets, matrix = all_triplets(labels), distances(X)
    hinge = matrix[triplets.anchor, triplets.positive] - matrix[triplets.anchor, triplets.negative]
    wanted = (hinge + 0.2).relu().mean()
    torch.testing.assert_close(made("quadruplet")(X, labels), wanted)


def test_histogram_is_the_share_of_disordered_pairs_on_fine_bins():
    cosine = X @ X.T
    row, column = torch.triu_indices(12, 12, offset=1)
    same = LABELS[row] == LABELS[column]
    positive, negative = cosine[row, column][same], cosine[row, column][~same]
    share = (negative[:, None] >= positive).double().mean()
    assert histogram(cosine, LABELS, 20001).item() == pytest.approx(share.item(), abs=2e-3)


def test_all_triplets_are_all_there_are():
    found = {tuple(row) for row in torch.stack(all_triplets(LABELS)).T.tolist()}
    wanted = {
        (a, p, n)
        for a in range(12)
        for p in range(12)
        for n in range(12)
        if a != p and LABELS[a] == LABELS[p] != LABELS[n]
    }
    assert found == wanted


@pytest.mark.parametrize("name", ("contrastive", "margin"))
def test_all_pairs_and_all_triplets_agree_where_classes_are_alike_in_size(name):
    criterion = made(name)
    by_triplets = criterion(X, PAIRED, all_triplets(PAIRED))
    if name == "contrastive":  # means: a pair's share is the same either way
        torch.testing.assert_close(criterion(X, PAIRED), by_triplets)
        return
    near, far = (distances(X)[rows] for rows in pairs_of(PAIRED))
    terms = (near - 1.0).relu(), (1.4 - far).relu()
    count = sum((term > 0).sum() for term in terms)
    wanted = sum(term.sum() for term in terms) / count
    torch.testing.assert_close(criterion(X, PAIRED).detach(), wanted)


def pairs_of(labels):
    same, itself = labels[:, None] == labels, torch.eye(len(labels), dtype=torch.bool)
    return same & ~itself, ~same


def test_active_terms_count_once_for_a_margin_triplet_of_the_reference_and_twice_else():
    triplets = Triplets(*torch.tensor([[0, 2, 3]]).T)
    by_triplet, by_pair = (
        made("margin", variant=variant, margin=2.0)(X, LABELS, triplets).item()
        for variant in ("reference", "standard")
    )
    assert by_triplet == pytest.approx(2 * by_pair, rel=1e-6)


def test_classes_weigh_by_their_number_or_alike_in_proxy_anchor():
    options = {"alphas": (32.0, 32.0), "deltas": (0.1, -0.1)}
    cosine = X @ normalize(fixture.proxies(), dim=-1).T
    uneven, even = (
        [proxy_anchor(cosine, y, average=a, **options).item() for a in ("samples", "classes")]
        for y in (LABELS, PAIRED)
    )
    assert uneven[0] != pytest.approx(uneven[1]) and even[0] == pytest.approx(even[1])


def test_enlarged_angles_fall_all_the_way_and_are_exact_below_pi():
    theta = torch.linspace(0, math.pi, 500, dtype=torch.float64)
    moved = add_angular_margin(theta.cos(), 0.5, monotone=True)[0]
    assert (moved.diff() < 0).all()
    inside = (theta > 1e-3) & (theta < math.pi - 0.5)  # angles below 4.5e-4 are kept there
    torch.testing.assert_close(moved[inside], (theta + 0.5).cos()[inside])


def test_one_centre_has_no_spread_and_equal_centres_almost_none():
    one = normal(4, 1, 3)
    assert centre_spread(one) == 0
    assert centre_spread(one.repeat(1, 2, 1)) < 2e-3
    assert made("soft_triple", n_centres=1)(X, LABELS).isfinite()


def test_features_count_after_the_delay_and_the_count_is_in_the_state():
    criterion = made("s2sd", delay=2, feature_weight=50.0)
    losses = [value(criterion).item() for _ in range(4)]
    assert losses[0] == losses[1] != losses[2] == losses[3]
    assert criterion.state_dict()["delayed"] == 4
    assert value(criterion.eval()).item() == losses[3]
    assert criterion.delayed == 4


def test_wider_spaces_get_no_gradient_from_what_they_teach():
    torch.manual_seed(0)
    plain = made("s2sd", target_dims=[7])
    taught = made("s2sd", target_dims=[7], weight=50.0)
    taught.load_state_dict(plain.state_dict())
    for criterion in (plain, taught):
        value(criterion).backward()
    for one, other in zip(plain.parameters(), taught.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert value(taught) > value(plain)


def test_s2sd_takes_the_miners_of_both_its_criteria():
    assert made("s2sd").allowed_miners == ()
    criterion = made("s2sd", source=node("margin"), target=node("triplet"))
    assert criterion.allowed_miners is None
    assert len(criterion.extra_param_groups()) == 1
    mixed = made("s2sd", source=node("margin"), target=node("proxy_anchor"))
    assert mixed.allowed_miners == ()


MODULES = [f"{criteria.__name__}.{m.name}" for m in pkgutil.iter_modules(criteria.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
    assert result.attempted or module.endswith(
        (".base", ".softmax", ".arcface")
    )  # no formula of their own
