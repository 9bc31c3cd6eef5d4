"""Criteria: values and gradients of published code, and of pytorch-metric-learning."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases, load_golden, variants
from tests.criteria import fixture
from tests.criteria.fixture import LABELS, PAIRED, TRIPLETS
from tests.criteria.made import made
from vmf_embeddings.criteria.multisimilarity_nir import MultiSimilarityNIR
from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor
from vmf_embeddings.criteria.s2sd import S2SD, pairwise_cosines, similarity_divergence
from vmf_embeddings.miners.base import Triplets

X, P = fixture.embeddings(), fixture.proxies()
MERGED = torch.where(LABELS == 5, 0, LABELS)
EVEN = torch.arange(0, 10, 2)
COUPLES = Triplets(EVEN, EVEN + 1, EVEN + 1)

# published code's value, criterion, options, and what differs from X, LABELS, no triplets
ROWS = [
    (24.1418592340, "proxy_anchor", {}, {}),
    (24.1768889036, "proxy_anchor", {}, {"labels": PAIRED}),
    (24.1325309559, "proxy_anchor", {"average": "classes"}, {}),
    (19.5879002908, "proxy_anchor_nca", {}, {}),
    (4.5218197786, "proxy_nca", {}, {}),
    (6.9043766211, "softmax", {}, {}),
    (10.9507905639, "arcface", {"variant": "reference"}, {}),
    (11.6874081162, "arcface", {}, {}),
    (1.0018001700, "multisimilarity_nir", {}, {}),
    (1.1693579933, "multisimilarity", {}, {"labels": MERGED}),
    (1.1693579933, "multisimilarity", {"variant": "reference"}, {"labels": MERGED}),
    (1.2168851586, "contrastive", {"variant": "reference"}, {"triplets": TRIPLETS}),
    (0.2667799490, "triplet", {}, {"triplets": TRIPLETS}),
    (0.4592676578, "margin", {"variant": "reference"}, {"triplets": TRIPLETS}),
    (0.3674141261, "margin", {}, {"triplets": TRIPLETS}),
    (0.8561033244, "snr", {"reg_lambda": 0.0}, {"triplets": TRIPLETS}),
    (2.1622949973, "npair", {}, {"triplets": COUPLES}),
    (0.2724018778, "histogram", {}, {}),
    (3.2583070756, "lifted", {}, {}),
    (4.3042894244, "soft_triple", {}, {}),
]


@pytest.mark.parametrize(("wanted", "name", "options", "batch"), ROWS)
def test_value_of_the_small_batch_is_that_of_published_code(wanted, name, options, batch):
    criterion = made(name, **options)
    if hasattr(criterion, "proxies"):
        criterion.proxies.data = fixture.centres() if name == "soft_triple" else P
    value = criterion(X, batch.get("labels", LABELS), batch.get("triplets"))
    assert value.item() == pytest.approx(wanted, rel=1e-9)


def test_the_reference_mean_of_multisimilarity_is_over_anchors_that_keep_both_kinds():
    cosine, kept = X @ X.T, []
    for a in range(12):
        own = [s for b, s in enumerate(cosine[a]) if b != a and LABELS[b] == LABELS[a]]
        others = [s for b, s in enumerate(cosine[a]) if LABELS[b] != LABELS[a]]
        near = [s for s in own if s - 0.1 < max(others)]
        far = [s for s in others if own and s + 0.1 > min(own)]
        if near and far:
            pull = torch.stack([(-2 * (s - 0.5)).exp() for s in near]).sum().log1p() / 2
            kept.append(
                pull + torch.stack([(40 * (s - 0.5)).exp() for s in far]).sum().log1p() / 40
            )
    assert len(kept) == 11  # one row is alone in its class
    found = {v: made("multisimilarity", variant=v)(X, LABELS) for v in ("standard", "reference")}
    torch.testing.assert_close(found["reference"], torch.stack(kept).mean())
    torch.testing.assert_close(found["standard"], torch.stack(kept).sum() / 12)


def test_divergence_of_similarities_is_that_of_published_code():
    i, k = fixture.counted(12, 1)[:, None], fixture.counted(2048, 1)
    features = pairwise_cosines(torch.cos(0.01 * i * k))
    for temperature, wanted in ((1.0, 0.1071278719), (2.0, 0.1162214604)):
        value = similarity_divergence(features, X @ X.T, temperature)
        assert value.item() == pytest.approx(wanted, rel=1e-8)


def compare(criterion, x, labels, triplets, golden, case):
    """Loss and the gradient of the embeddings against a golden case."""
    x = torch.tensor(x).double().requires_grad_()
    loss = criterion(x, torch.tensor(labels), triplets)
    loss.backward()
    torch.testing.assert_close(loss, _tensor(golden, f"{case}/loss"), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(x.grad, _tensor(golden, f"{case}/grad_x"), rtol=1e-9, atol=1e-12)


def _tensor(golden, key):
    return torch.tensor(golden[key]).double()


PROXY_OPTIONS = [
    name.removeprefix("anchor_") for name in variants(load_golden("dml_oproxy"), "loss", "anchor_")
]


@pytest.mark.parametrize("reading", ("anchor", "nca"))
@pytest.mark.parametrize("options", PROXY_OPTIONS)
def test_proxy_anchor_and_its_other_reading_equal_the_golden(golden, reading, options):
    data = golden("dml_oproxy")
    names = "pos_alpha", "neg_alpha", "pos_delta", "neg_delta"
    for case in cases(data):
        row, proxies = f"{case}/{reading}_{options}", _tensor(data, f"{case}/proxies")
        name = {"anchor": "proxy_anchor", "nca": "proxy_anchor_nca"}[reading]
        criterion = made(name, **{k: float(data[f"{row}/{k}"]) for k in names})
        criterion.proxies = torch.nn.Parameter(proxies)
        compare(criterion, data[f"{case}/x"], data[f"{case}/labels"], None, data, row)
        wanted = _tensor(data, f"{row}/grad_proxies")
        torch.testing.assert_close(criterion.proxies.grad, wanted, rtol=1e-9, atol=1e-12)


def options_of(data, case: str, *names: str) -> dict[str, float]:
    return {name: float(data[f"{case}/{name}"]) for name in names}


THRESHOLDS = "pos_weight", "neg_weight", "pos_thresh", "neg_thresh", "margin"
MARGINS = "pos_margin", "neg_margin"
DML = load_golden("dml_criteria")


def rows_of(start: str) -> list[str]:
    """The rows of a criterion in the golden file: its published options, and others."""
    return variants(DML, "loss", start)


ON_BATCHES = [(row, "multisimilarity_nir", THRESHOLDS) for row in rows_of("multisimilarity")]
ON_TRIPLETS = [
    (row, name, options)
    for name, options in (("triplet", ("margin",)), ("contrastive", MARGINS))
    for row in rows_of(name)
]


@pytest.mark.parametrize(("row", "name", "options"), ON_BATCHES + ON_TRIPLETS)
def test_criteria_without_parameters_equal_the_golden(golden, row, name, options):
    data = golden("dml_criteria")
    for case in cases(data):
        found = options_of(data, f"{case}/{row}", *options)
        if name == "contrastive":
            found["variant"] = "reference"
        triplets = Triplets(*torch.tensor(data[f"{case}/triplets"]).T)
        triplets = triplets if (row, name, options) in ON_TRIPLETS else None
        labels = data[f"{case}/labels"]
        compare(made(name, **found), data[f"{case}/x"], labels, triplets, data, f"{case}/{row}")


@pytest.mark.parametrize("row", rows_of("margin"))
def test_margin_equals_the_golden_by_triplets_and_by_pairs(golden, row):
    data = golden("dml_criteria")
    for case in cases(data):
        at, labels = f"{case}/{row}", data[f"{case}/labels"]
        options = options_of(data, at, "margin") | {"learn_beta": row == "margin"}
        triplets = Triplets(*torch.tensor(data[f"{case}/triplets"]).T)
        beta = _tensor(data, f"{at}/beta")
        beta = beta if beta.ndim else beta.repeat(labels.max() + 1)
        for variant in ("reference", "standard"):
            criterion = made("margin", n_classes=len(beta), variant=variant, **options)
            criterion.beta.data = beta
            if variant == "reference":
                compare(criterion, data[f"{case}/x"], labels, triplets, data, at)
                continue
            x = _tensor(data, f"{case}/x")
            by_pairs = criterion(x, torch.tensor(labels), triplets)
            wanted = _tensor(data, f"{at}/loss_if_pairs_counted")
            # its roots have 1e-8 added
            torch.testing.assert_close(by_pairs.detach(), wanted, rtol=1e-8, atol=1e-12)


def test_radii_get_the_golden_gradient(golden):
    data = golden("dml_criteria")
    for case in cases(data):
        beta = _tensor(data, f"{case}/margin/beta")
        criterion = made("margin", n_classes=len(beta), variant="reference")
        criterion.beta.data = beta
        triplets = Triplets(*torch.tensor(data[f"{case}/triplets"]).T)
        criterion(
            _tensor(data, f"{case}/x"), torch.tensor(data[f"{case}/labels"]), triplets
        ).backward()
        wanted = _tensor(data, f"{case}/margin/grad_beta")
        torch.testing.assert_close(criterion.beta.grad, wanted, rtol=1e-6, atol=1e-8)  # float32


@pytest.mark.parametrize("row", rows_of("npair"))
def test_npair_equals_the_golden(golden, row):
    data = golden("dml_criteria")
    for case in cases(data):
        at = f"{case}/{row}"
        anchors, positives = (torch.tensor(data[f"{at}/{k}"]) for k in ("anchors", "positives"))
        # the published code divides by 4 for one of its networks
        divisor = 4.0 if row.endswith("bninception") else 1.0
        criterion = made("npair", divisor=divisor, **options_of(data, at, "l2_weight"))
        pairs = Triplets(anchors, positives, positives)
        compare(criterion, data[f"{case}/x"], data[f"{case}/labels"], pairs, data, at)


@pytest.mark.parametrize("row", rows_of("softmax") + rows_of("arcface"))
def test_class_vectors_equal_the_golden(golden, row):
    data = golden("dml_criteria")
    for case in cases(data):
        at = f"{case}/{row}"
        if row.startswith("softmax"):
            criterion = made("softmax", **options_of(data, at, "temperature"))
        else:
            options = options_of(data, at, "angular_margin", "feature_scale")
            options["scale"] = options.pop("feature_scale")
            criterion = made("arcface", variant="reference", **options)
        criterion.proxies = torch.nn.Parameter(_tensor(data, f"{at}/class_map"))
        compare(criterion, data[f"{case}/x"], data[f"{case}/labels"], None, data, at)
        wanted = _tensor(data, f"{at}/grad_class_map")
        torch.testing.assert_close(criterion.proxies.grad, wanted, rtol=1e-9, atol=1e-12)


def test_s2sd_equals_the_golden(golden):
    data = golden("dml_s2sd")
    for case in cases(data):
        criterion = s2sd_of(data, case)
        x = _tensor(data, f"{case}/x").requires_grad_()
        maps = _tensor(data, f"{case}/batch_features").requires_grad_()
        features = maps.mean((2, 3)) + (maps.amax((2, 3)) if data[f"{case}/pool_aggr"] else 0)
        labels = torch.tensor(data[f"{case}/labels"])
        loss = criterion(normalize(x, dim=-1), labels, features=features)
        loss.backward()
        torch.testing.assert_close(loss, _tensor(data, f"{case}/loss"), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(x.grad, _tensor(data, f"{case}/grad_x"), rtol=1e-9, atol=1e-12)
        wanted = _tensor(data, f"{case}/grad_features").reshape(len(maps), maps.shape[1], -1)
        found = maps.grad.flatten(2) if wanted.shape[2] > 1 else maps.grad.sum((2, 3))[:, :, None]
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        wanted = _tensor(data, f"{case}/grad/target_nets.0.2.weight")
        found = criterion.networks[0][2].weight.grad
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)  # stored in float32


def s2sd_of(data, case: str) -> S2SD:
    """The criterion of a golden case with its stored parameters."""

    def part(name: str):
        if data[f"{case}/{name}"] == "multisimilarity":
            return MultiSimilarityNIR(2, 40, 0.5, 0.5, 0.1)
        return ProxyAnchor(32, 32, 0.1, -0.1, "samples", 1)

    weights = options_of(data, case, "T", "w", "feat_w")
    weights = weights["T"], weights["w"], weights["feat_w"] * bool(data[f"{case}/feat_distill"])
    widths = data[f"{case}/target_dims"].tolist()
    criterion = S2SD(part("source"), part("target"), widths, *weights, delay=0)
    stored = {key.split("/", 2)[2]: key for key in data if key.startswith(f"{case}/param/")}
    n_classes = int(data[f"{case}/labels"].max()) + 1
    n_classes = next((len(data[k]) for name, k in stored.items() if "proxies" in name), n_classes)
    criterion.build(
        n_classes, data[f"{case}/x"].shape[1], data[f"{case}/avg_batch_features"].shape[1]
    )
    heads = {
        "target_nets": "networks.{0}.{1}.{2}",
        "target_criteria": "targets.{0}.{1}",
        "source_criterion": "source.{0}",
    }
    state = criterion.state_dict()
    for name, key in stored.items():
        head, *rest = name.split(".")
        state[heads[head].format(*rest)].copy_(torch.tensor(data[key]))
    return criterion.double()


PML_PROXY_NCA = variants(load_golden("pml_losses"), "loss", "proxy_nca")
PML_ROWS = [
    ("proxy_anchor", "proxy_anchor", {"average": "classes"}),
    *((row, "proxy_nca", {"denominator": "all"}) for row in PML_PROXY_NCA),
    ("multisimilarity_no_miner", "multisimilarity", {"epsilon": None}),
    ("multisimilarity_miner", "multisimilarity", {}),
]


@pytest.mark.parametrize(("row", "name", "options"), PML_ROWS)
def test_values_of_pytorch_metric_learning_come_out_with_its_conventions(
    golden, row, name, options
):
    data = golden("pml_losses")
    for case in cases(data):
        at, found = f"{case}/{row}", dict(options)
        if name == "multisimilarity":
            found |= options_of(data, at, "alpha", "beta", "base")
            if row == "multisimilarity_miner":
                found |= options_of(data, at, "epsilon")
        elif name == "proxy_nca":  # distances of unit vectors scaled by s are s^2 as large
            found["scale"] = float(data[f"{at}/softmax_scale"]) ** 0.5
        elif name == "proxy_anchor":
            margin, alpha = (float(data[f"{at}/{k}"]) for k in ("margin", "alpha"))
            found |= {
                "pos_delta": margin,
                "neg_delta": -margin,
                "pos_alpha": alpha,
                "neg_alpha": alpha,
            }
        criterion = made(name, **found)
        if hasattr(criterion, "proxies"):
            criterion.proxies = torch.nn.Parameter(_tensor(data, f"{case}/weights"))
        x = normalize(_tensor(data, f"{case}/x"), dim=-1)
        value = criterion(x, torch.tensor(data[f"{case}/labels"]))
        torch.testing.assert_close(value, _tensor(data, f"{at}/loss"), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("temperature", (0.05, 0.1, 1.0))
@pytest.mark.parametrize("labels", (LABELS, PAIRED, MERGED, torch.arange(12) % 7))
def test_supcon_and_its_gradient_are_those_of_pytorch_metric_learning(temperature, labels):
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="an extra")
    found = []
    for loss in (made("supcon", temperature=temperature), losses.SupConLoss(temperature)):
        x = X.clone().requires_grad_()
        value = loss(torch.nn.functional.normalize(x, dim=1), labels)
        found.append((value.detach(), torch.autograd.grad(value, x)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_supcon_without_a_positive_is_zero_with_a_gradient_of_zero():
    x = X[:4].clone().requires_grad_()
    loss = made("supcon")(torch.nn.functional.normalize(x, dim=1), torch.arange(4))
    assert loss == 0 and torch.autograd.grad(loss, x)[0].abs().max() == 0
