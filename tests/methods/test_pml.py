"""Losses of pytorch-metric-learning by name: its goldens, ours beside them, mistakes."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases
from tests.criteria.made import made
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.geometry import Cosine, Euclidean
from vmf_embeddings.methods import pml
from vmf_embeddings.methods.pml import PML
from vmf_embeddings.miners.base import Triplets

pytest.importorskip("pytorch_metric_learning", reason="an extra: pytorch-metric-learning")
Z, Y = normal(12, 3), torch.arange(12) % 4
OPTIONS = {
    "loss": "ProxyAnchorLoss",
    "miner": None,
    "distance": None,
    "regularizer": None,
    "reducer": None,
    "lr_factor": 1.0,
    "geometry": "auto",
}


def made_pml(n_classes: int = 4, dim: int = 3, **options) -> PML:
    torch.manual_seed(0)
    return PML(TinyArch(n_classes, dim), **OPTIONS | options).double()


def spec(name: str, **arguments) -> dict:
    return {"class": name, **arguments}


MINER = spec("MultiSimilarityMiner")
ROWS = {
    "proxy_anchor": (spec("ProxyAnchorLoss"), ("margin", "alpha")),
    "proxy_nca": (spec("ProxyNCALoss"), ("softmax_scale",)),
    "proxy_nca_s9": (spec("ProxyNCALoss"), ("softmax_scale",)),
    "arcface": (spec("ArcFaceLoss"), ("scale",)),
    "cosface": (spec("CosFaceLoss"), ("margin", "scale")),
    "normalized_softmax": (spec("NormalizedSoftmaxLoss"), ("temperature",)),
    "multisimilarity_no_miner": (spec("MultiSimilarityLoss"), ("alpha", "beta", "base")),
    "multisimilarity_miner": (spec("MultiSimilarityLoss"), ("alpha", "beta", "base")),
    "triplet": (spec("TripletMarginLoss"), ("margin",)),
    "contrastive": (spec("ContrastiveLoss"), ("pos_margin", "neg_margin")),
    "margin": (spec("MarginLoss"), ("margin", "beta")),
    "ntxent": (spec("NTXentLoss"), ("temperature",)),
    "supcon": (spec("SupConLoss"), ("temperature",)),
}


@pytest.mark.parametrize("row", ROWS)
def test_loss_by_name_equals_the_golden(golden, row):
    data = golden("pml_losses")
    for case in cases(data):
        at, (loss, options) = f"{case}/{row}", ROWS[row]
        loss = loss | {k: float(data[f"{at}/{k}"]) for k in options}
        if row == "arcface":
            loss["margin"] = float(data[f"{at}/margin_degrees"])
        miner = {}
        if row == "multisimilarity_miner":
            miner["miner"] = MINER | {"epsilon": float(data[f"{at}/epsilon"])}
        weights = torch.tensor(data[f"{case}/weights"]).double()
        method = made_pml(*weights.shape, loss=loss, **miner)
        if method.class_weights is not None:
            method.class_weights.data.copy_(weights)
        if row in ("triplet", "margin"):
            triplets = tuple(torch.tensor(data[f"{case}/triplets"]).T)
            method.miner = lambda embeddings, labels, triplets=triplets: triplets
        x = torch.tensor(data[f"{case}/x"]).double().requires_grad_()
        value = method.loss(x, torch.tensor(data[f"{case}/labels"]))
        value.backward()
        wanted = torch.tensor(data[f"{at}/loss"]).double()
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-12)
        wanted = torch.tensor(data[f"{at}/grad_x"]).double()
        torch.testing.assert_close(x.grad, wanted, rtol=1e-8, atol=1e-10)


PLAIN = spec("LpDistance", normalize_embeddings=False)
SQUARED = spec("LpDistance", normalize_embeddings=False, power=2)
DOT = spec("DotProductSimilarity", normalize_embeddings=False)
MEAN = "MeanReducer"
TRIPLETS = Triplets(*torch.tensor([[0, 4, 1], [5, 9, 2], [3, 7, 4], [8, 0, 6], [2, 6, 11]]).T)

# our criterion, its options, the library's loss with what must be said to make it the same
SAME = [
    ("contrastive", {}, {"loss": spec("ContrastiveLoss"), "distance": PLAIN, "reducer": MEAN}),
    ("triplet", {}, {
        "loss": spec("TripletMarginLoss", margin=0.2), "distance": SQUARED, "reducer": MEAN}),
    ("margin", {"learn_beta": False}, {"loss": spec("MarginLoss")}),
    ("margin", {"nu": 0.1}, {"loss": spec("MarginLoss", nu=0.1, learn_beta=True, num_classes=4)}),
    ("snr", {"reg_lambda": 0.0}, {
        "loss": spec("TripletMarginLoss", margin=0.2),
        "distance": spec("SNRDistance", normalize_embeddings=False),
        "reducer": "AvgNonZeroReducer"}),
    ("histogram", {}, {"loss": spec("HistogramLoss", n_bins=64)}),
    ("lifted", {}, {
        "loss": spec("GeneralizedLiftedStructureLoss", neg_margin=1, embedding_reg_weight=0.005),
        "distance": PLAIN, "regularizer": "LpRegularizer"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "library"), SAME)
def test_our_criteria_are_the_librarys_once_its_conventions_are_named(name, options, library):
    x = normalize(normal(12, 3), dim=-1)
    takes_triplets = made(name, **options).takes == "triplets"
    mined = TRIPLETS if takes_triplets else None
    ours = made(name, n_classes=4, dim=3, **options)(x, Y, mined)
    method = made_pml(**library)
    if takes_triplets:
        method.miner = lambda embeddings, labels: tuple(TRIPLETS)
    torch.testing.assert_close(method.loss(x, Y), ours.detach(), rtol=1e-6, atol=1e-9)


def test_soft_triple_is_the_librarys_with_its_sparse_centres():
    regularizer = spec("SparseCentersRegularizer", num_classes=4, centers_per_class=2)
    options = {"centers_per_class": 2, "la": 8, "gamma": 0.1, "margin": 0.01}
    weighted = {"weight_regularizer": regularizer, "weight_reg_weight": 0.2}
    method = made_pml(loss=spec("SoftTripleLoss", **options, **weighted))
    criterion = made("soft_triple", n_classes=4, dim=3)
    criterion.proxies.data = method.objective.fc.data.T.reshape(4, 2, 3)
    torch.testing.assert_close(criterion(Z, Y), method.loss(Z, Y), rtol=1e-7, atol=0)


def test_the_angular_part_is_the_librarys():
    options = {"angular_weight": 1.0, "l2_weight": 0.0}
    paired = torch.arange(6).repeat_interleave(2)
    method, plain = made_pml(loss=spec("AngularLoss", alpha=45)), made("npair", l2_weight=0.0)
    unit = normalize(Z, dim=-1)  # the library normalises anchors and positives alone
    ours = made("angular", **options)(unit, paired) - plain(unit, paired)
    torch.testing.assert_close(ours, method.loss(unit, paired), rtol=1e-6, atol=1e-9)


# bases, and losses that need arguments or data of their own; of labels alone all others make sense
OTHERS = {
    *("BaseLossWrapper", "BaseMetricLossFunction", "GenericPairLoss", "MultipleLosses"),
    *("CrossBatchMemory", "SelfSupervisedLoss", "VICRegLoss", "RankedListLoss"),
    *("ManifoldLoss", "DynamicSoftMarginLoss"),
}


def test_every_other_loss_of_the_library_works_by_its_name_alone():
    from pytorch_metric_learning import losses

    names = set(pml.classes(losses)) - OTHERS
    assert len(names) >= 25
    for name in sorted(names):
        method = made_pml(loss=name)
        assert method.loss(Z.clone().requires_grad_(), Y).isfinite(), name
        logits = method.logits(Z)
        assert method.has_logits == (logits is not None)
        assert logits is None or logits.shape == (12, 4), name


def test_specs_nest_and_distances_reach_loss_and_miner():
    memory = spec("CrossBatchMemory", loss=spec("ContrastiveLoss", distance=DOT), memory_size=24)
    assert type(made_pml(loss=memory).objective.loss.distance).__name__ == "DotProductSimilarity"
    both = made_pml(
        loss=spec("MultipleLosses", losses=["NTXentLoss", "SupConLoss"], weights=[1, 2])
    )
    alone = [made_pml(loss=name).loss(Z, Y) for name in ("NTXentLoss", "SupConLoss")]
    torch.testing.assert_close(both.loss(Z, Y), alone[0] + 2 * alone[1])
    method = made_pml(loss="TripletMarginLoss", miner="BatchHardMiner", distance="CosineSimilarity")
    assert {type(x.distance).__name__ for x in (method.objective, method.miner)} == {
        "CosineSimilarity"
    }
    assert method.objective.distance is not method.miner.distance


def test_geometry_is_the_cosine_where_the_loss_normalises_unless_told_otherwise():
    assert made_pml().geometry == Cosine()
    assert made_pml(loss="ContrastiveLoss", distance=PLAIN).geometry == Euclidean()
    assert made_pml(loss="ContrastiveLoss", distance=PLAIN, geometry="cosine").geometry == Cosine()


def test_parameters_of_the_loss_learn_at_their_rate_and_do_not_decay():
    *_, group = made_pml(lr_factor=50.0).param_groups(0.0, "all")
    assert group["lr_factor"] == 50 and group["weight_decay"] == 0
    assert group["params"][0].shape == (4, 3)
    assert made_pml(loss="ContrastiveLoss").extra_param_groups() == []


def test_nearest_proxy_has_the_largest_logit_also_where_the_library_has_distances():
    for loss in ("ProxyAnchorLoss", "ProxyNCALoss", "NormalizedSoftmaxLoss"):
        method = made_pml(loss=loss)
        at_proxies = method.logits(method.class_weights.detach())
        assert at_proxies.argmax(1).tolist() == [0, 1, 2, 3]


MISTAKES = [
    (
        {"loss": "ProxyAnchorLos"},
        "no 'ProxyAnchorLos' among its losses; did you mean ProxyAnchorLoss",
    ),
    ({"loss": "zzz"}, "among its losses; it has AngularLoss"),
    ({"miner": "MultiSimilarityLoss"}, "among its miners; did you mean MultiSimilarityMiner"),
    ({"loss": spec("ProxyAnchorLoss", marge=1)}, "ProxyAnchorLoss of .* 'marge'"),
    ({"loss": {"name": "ProxyAnchorLoss"}}, "expected the name of a class or {class: name"),
    ({"loss": "ArcFaceLoss", "distance": "LpDistance"}, "ArcFaceLoss of pytorch-metric-learning"),
    ({"lr_factor": -1.0}, "method.params.lr_factor"),
    ({"geometry": "hyperbolic"}, "method.params.geometry is one of auto"),
    ({"loss": None}, "method.params.loss"),
]


@pytest.mark.parametrize(("options", "words"), MISTAKES)
def test_mistakes_are_named_with_what_is_near(options, words):
    with pytest.raises(ValueError, match=words):
        made_pml(**options)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="pytorch_metric_learning")

    monkeypatch.setattr(pml.importlib, "import_module", missing)
    with pytest.raises(ValueError, match="pip install 'pytorch-metric-learning"):
        made_pml()
