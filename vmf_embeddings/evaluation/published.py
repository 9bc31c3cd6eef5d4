"""Published figures of the recipes in `conf/experiment`, with their sources; in percent.

The heads of the recipes state the same figures and what differs from the published runs. A test
compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmf_embeddings.evaluation.settings import Settings

NIR = "Roth et al. 2022, https://arxiv.org/abs/2203.08547"
BAG_OF_TRICKS = "BagofTricks-LT, https://github.com/zhangyongshun/BagofTricks-LT"
META_SOFTMAX = "README of https://github.com/jiawei-ren/BalancedMetaSoftmax-Classification"
FSGL = "README of https://github.com/ZY-IMU-CV/FSGL"
GLMC = "its paper, https://arxiv.org/abs/2305.08661"
GLMC_AUTHORS = "its authors, after their correction"
SADDLE = "README of https://github.com/val-iisc/Saddle-LongTail"
T_VMF = "README of https://github.com/tk1980/tvMF"
BALANCING = "Kang et al. 2020, https://arxiv.org/abs/1910.09217"
_IMBALANCE = "dataset.params.imbalance_factor"


@dataclass(frozen=True)
class Published:
    """The figures of one setting of a recipe.

    Args:
        scores: name of a score -> percent.
        source: where they stand.
        spread: name of a score -> what stands after its +/-, in percent; {} where nothing does.
        when: settings of a run, as `settings_of` names them, that the figures are of.
        tolerance: percentage points below the first score that we accept; None where the recipe
            states none.
        chosen_on_test: whether those runs chose their epoch on the test split.
    """

    scores: Mapping[str, float]
    source: str
    spread: Mapping[str, float] = field(default_factory=dict)
    when: Mapping[str, str] = field(default_factory=dict)
    tolerance: float | None = None
    chosen_on_test: bool = False


def published(recipe: str, settings: Settings) -> Published | None:
    """The published figures of a recipe under settings of a run; None where there are none."""
    for one in PUBLISHED.get(recipe, ()):
        if all(settings.get(key) == value for key, value in one.when.items()):
            return one
    return None


def _nir(
    recall: float, nmi: float, precision: float, *spread: float, tolerance: float | None = None
) -> tuple[Published, ...]:
    names = "recall@1", "nmi", "map_at_1000_reference"
    scores = dict(zip(names, (recall, nmi, precision), strict=True))
    ends = dict(zip(names, spread, strict=True))
    return (Published(scores, NIR, ends, tolerance=tolerance, chosen_on_test=True),)


def _accuracy(value: float, source: str, on_test: bool = False, **other: str) -> Published:
    """An accuracy; `other` are settings, a double underscore for the point, and `imbalance`."""
    imbalance = {_IMBALANCE: other.pop("imbalance")} if "imbalance" in other else {}
    when = imbalance | {key.replace("__", "."): value for key, value in other.items()}
    return Published({"accuracy": value}, source, {}, when, 1.0, on_test)


def _shots(accuracy: float, many: float, medium: float, few: float, source: str,
           **options: object) -> Published:  # fmt: skip
    scores = {"accuracy": accuracy, "many": many, "medium": medium, "few": few}
    return Published(scores, source, tolerance=1.0, **options)  # type: ignore[arg-type]


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "cub200_nir": _nir(66.0, 69.6, 34.2, 0.3, 0.1, 0.2),
    "cars196_nir": _nir(85.2, 71.6, 36.4, 0.3, 0.3, 0.2),
    "sop_nir": _nir(78.9, 90.4, 46.5, 0.1, 0.1, 0.1),
    "cub200_proxy_anchor": _nir(64.4, 68.4, 33.2, 0.3, 0.2, 0.3, tolerance=1.5),
    "cars196_proxy_anchor": _nir(82.4, 69.0, 34.2, 0.4, 0.3, 0.3, tolerance=1.5),
    "sop_proxy_anchor": _nir(78.0, 90.1, 45.5, 0.1, 0.1, 0.1, tolerance=1.0),
    "cifar10_lt_balms": (
        _accuracy(79.8, META_SOFTMAX, True, imbalance="200", loss__name="balanced_softmax"),
        _accuracy(74.0, META_SOFTMAX, True, imbalance="200", loss__name="ce"),
    ),
    "cifar100_lt_balms": (
        _accuracy(46.7, META_SOFTMAX, True, imbalance="200", loss__name="balanced_softmax"),
        _accuracy(41.2, META_SOFTMAX, True, imbalance="200", loss__name="ce"),
    ),
    "cifar10_lt_balms_stage2": (
        _accuracy(82.2, META_SOFTMAX, imbalance="200", sampler__name="meta"),
        _accuracy(81.8, META_SOFTMAX, imbalance="200", sampler__name="random"),
    ),
    "cifar100_lt_balms_stage2": (
        _accuracy(48.0, META_SOFTMAX, imbalance="200", sampler__name="meta"),
        _accuracy(47.2, META_SOFTMAX, imbalance="200", sampler__name="random"),
    ),
    "cifar10_lt_bbn": (
        _accuracy(77.54, BAG_OF_TRICKS, True, imbalance="100", loss__name="balanced_softmax"),
        _accuracy(70.36, BAG_OF_TRICKS, True, imbalance="100", loss__name="ce"),
    ),
    "cifar100_lt_bbn": (
        _accuracy(42.99, BAG_OF_TRICKS, True, imbalance="100", loss__name="balanced_softmax"),
        _accuracy(38.32, BAG_OF_TRICKS, True, imbalance="100", loss__name="ce"),
    ),
    "cifar10_lt_dive": (
        _accuracy(78.88, BAG_OF_TRICKS, imbalance="100"),
        _accuracy(82.44, BAG_OF_TRICKS, imbalance="50"),
    ),
    "cifar100_lt_dive": (
        _accuracy(45.35, "its paper", imbalance="100"),
        _accuracy(51.13, "its paper", imbalance="50"),
        _accuracy(62.00, "its paper", imbalance="10"),
    ),
    "cifar10_lt_fsgl": (
        _accuracy(92.2, FSGL, True, imbalance="50"),
        _accuracy(89.3, FSGL, True, imbalance="100"),
    ),
    "cifar100_lt_fsgl": (
        _accuracy(63.4, FSGL, True, imbalance="50"),
        _accuracy(59.2, FSGL, True, imbalance="100"),
    ),
    "cifar10_lt_glmc": (
        _accuracy(88.50, GLMC_AUTHORS, True, imbalance="100"),
        _accuracy(91.04, GLMC_AUTHORS, True, imbalance="50"),
    ),
    "cifar100_lt_glmc": (
        _accuracy(57.97, GLMC_AUTHORS, True, imbalance="100"),
        _accuracy(63.78, GLMC_AUTHORS, True, imbalance="50"),
    ),
    "cifar10_lt_ldam": (
        _accuracy(77.73, BAG_OF_TRICKS, True, imbalance="100"),
        _accuracy(81.60, BAG_OF_TRICKS, True, imbalance="50"),
    ),
    "cifar100_lt_ldam": (
        _accuracy(42.47, BAG_OF_TRICKS, True, imbalance="100"),
        _accuracy(47.29, BAG_OF_TRICKS, True, imbalance="50"),
    ),
    "imagenet_lt_balms_stage2": (_accuracy(41.6, META_SOFTMAX),),
    "imagenet_lt_cb": (
        _shots(44.4, 65.9, 37.5, 7.7, BALANCING, when={"arch.name": "resnext50_32x4d"}),
        _accuracy(34.8, META_SOFTMAX, arch__name="resnet10_feature"),
    ),
    "imagenet_lt_fsgl": (_accuracy(57.2, FSGL, True),),
    "imagenet_lt_glmc": (
        _accuracy(57.21, GLMC, True, method__params__rebalance="balanced_softmax"),
        _shots(56.3, 70.1, 52.4, 30.4, GLMC, chosen_on_test=True),
    ),
    "imagenet_lt_saddle": (_accuracy(53.1, SADDLE, loss__name="ldam"),),
    "imagenet_lt_tvmf": (
        _accuracy(42.70, f"{T_VMF} (after the second stage)", True, head__name="tvmf_k16"),
        _accuracy(43.69, f"{T_VMF} (after the second stage)", True, head__name="tvmf_k64"),
    ),
    "inat2018_glmc": (_shots(72.21, 64.6, 73.2, 73.0, GLMC, chosen_on_test=True),),
    "inat2018_saddle": (_accuracy(70.1, SADDLE, loss__name="ldam"),),
    "inat2018_tvmf": (
        _accuracy(71.08, f"{T_VMF} (after the second stage)", True, head__name="tvmf_k16"),
        _accuracy(70.31, f"{T_VMF} (after the second stage)", True, head__name="tvmf_k64"),
    ),
    "places_lt_base": (Published({"accuracy": 30.2}, META_SOFTMAX, tolerance=2.0),),
    "places_lt_balms_stage2": (Published({"accuracy": 38.3}, META_SOFTMAX, tolerance=2.0),),
}
"""Recipe -> its figures; the first whose settings a run has are those to compare it with."""
