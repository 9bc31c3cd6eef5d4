"""What fits given data: size of the images, network, batches, length of the training."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vmf_embeddings.cli.data_kind import DataKind
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.refused import Refused

_MOST_HEADERS = 200  # images whose size is looked at
_FEW_VALID = 50  # validation images, below which an epoch chosen by them is chosen by chance
# network and its input: images of at most so many pixels -> side of the input
_SIDES = ((40, 32), (96, 64), (10**9, 128))
_SIDES_WITH_WEIGHTS = ((64, 96), (128, 128), (10**9, 160))
# images to be trained on, and the fewest and the most epochs that this may make
_BUDGET = (100_000, 5, 60)
_BUDGET_WITH_WEIGHTS = (20_000, 2, 12)
_BUDGET_OF_FEATURES = (1_000_000, 10, 60)


@dataclass(frozen=True)
class Facts:
    """What a look at the data found.

    Attributes:
        n_train: items to train on.
        n_classes: of these.
        per_class: median number of items of a class.
        n_valid: items to validate on.
        n_valid_classes: of these.
        open_set: whether the classes of test do not occur in train.
        side: median length of the shorter side of the images in pixels; None for vectors.
    """

    n_train: int
    n_classes: int
    per_class: int
    n_valid: int
    n_valid_classes: int
    open_set: bool
    side: int | None = None

    @classmethod
    def of(cls, kind: DataKind, typed: Mapping[str, str]) -> "Facts":
        """Reads the lists of the splits, and the sizes of up to 200 images.

        Args:
            kind: which data set reads the data.
            typed: parameters of it that were typed, which may decide how splits are made.
        """
        data = kind.with_values(**{**_known(kind, typed), **kind.values}).built()
        if kind.holds_images:
            rows = data.rows  # type: ignore[attr-defined] - of ImageFileDataset
            labels, valid_labels = rows["train"].labels, rows["valid"].labels
            side = _side_of(rows["train"].paths)
        else:
            train = data.split("train")
            labels, side = train.labels.numpy(), None
            valid_labels = data.split("valid").labels.numpy()
        counts = np.unique(labels, return_counts=True)[1]
        return cls(
            n_train=len(labels),
            n_classes=len(counts),
            per_class=int(np.median(counts)),
            n_valid=len(valid_labels),
            n_valid_classes=len(np.unique(valid_labels)),
            open_set=bool(data.open_set),
            side=side,
        )

    @property
    def sentence(self) -> str:
        """The facts in words."""
        what = "vectors" if self.side is None else f"images of about {self.side} pixels"
        return (
            f"{self.n_train} {what} to train on, in {counted(self.n_classes, 'class')} of about "
            f"{self.per_class}; {self.n_valid} to validate on"
        )


def _known(kind: DataKind, typed: Mapping[str, str]) -> dict[str, Any]:
    """The typed parameters that the data set has; composing the command refuses others."""
    import yaml

    known, found = kind.defaults(), {}
    for key, value in typed.items():
        with contextlib.suppress(yaml.YAMLError):
            if value and key in known:
                found[key] = yaml.safe_load(value)
    return found


def _side_of(paths: list[str]) -> int:
    from vmf_embeddings.untrusted.image_headers import probe

    chosen = paths[:: max(1, len(paths) // _MOST_HEADERS)]
    sides = [min(size) for size in (probe(path).size for path in chosen) if min(size) > 0]
    return int(np.median(sides)) if sides else 224


def choices(
    experiment: str,
    kind: DataKind,
    facts: Facts,
    typed: Mapping[str, str],
    weights: str | None,
) -> dict[str, Any]:
    """The overrides that an experiment on own data lacks.

    Args:
        experiment: own_closed, own_open, own_long_tail or own_features.
        kind: which data set reads the data.
        facts: what a look at them found.
        typed: key -> value of what was typed.
        weights: file of pretrained weights, as in `weights=FILE`; None without.

    Returns:
        Key -> value, groups before the keys in them.

    Raises:
        Refused: the name of the weights' file names no network.
    """
    path = Path(kind.values["dataset_path"])
    found: dict[str, Any] = {"dataset": kind.name}
    found |= {f"dataset.params.{key}": value for key, value in kind.values.items()}
    found["name"] = f"{experiment}_{_word(path.stem)}"
    pretrained = _pretrained(typed, weights)
    if kind.holds_images:
        found |= _network(facts, typed, weights, pretrained=pretrained)
    elif facts.open_set:
        found |= {"method": "dml", "criterion": "supcon", "arch": "linear"}
    else:
        found |= {"arch": "mlp", "arch.params.dropout": 0.3}
    is_open = facts.open_set or experiment == "own_open"
    found |= _batches(facts, typed, of_classes=is_open)
    found |= _length(facts, typed, pretrained=pretrained, images=kind.holds_images)
    # of one class, every neighbour is right: all epochs are perfect, and the first would be kept
    if facts.n_valid < _FEW_VALID or (is_open and facts.n_valid_classes < 2):
        found["mode.select"] = "last"
    return found


def _word(text: str) -> str:
    """The name of a file or folder as part of a run's name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:40] or "data"


def _pretrained(typed: Mapping[str, str], weights: str | None) -> bool:
    given = typed.get("arch.params.weights", "null")
    flag = typed.get("arch.params.pretrained", "false")
    return weights is not None or given != "null" or flag.lower() == "true"


def _network(
    facts: Facts, typed: Mapping[str, str], weights: str | None, *, pretrained: bool
) -> dict[str, Any]:
    """The network and the size of its input."""
    sides = _SIDES_WITH_WEIGHTS if pretrained else _SIDES
    side = next(side for most, side in sides if (facts.side or 0) <= most)
    found: dict[str, Any] = {"dataset.params.image_size": side}
    if pretrained and _has_fixed_input(typed, weights):
        found["dataset.params.image_size"] = "auto"
    if not pretrained:
        found |= {"arch": "resnet18", "arch.params.first_conv_3x3": side <= 32}
        return found
    if weights is not None:
        found |= network_of(Path(weights))
    found |= {"dataset.params.normalisation": "auto", "dataset.params.crop_fraction": 1.0}
    # fixed statistics: those of the weights, which small batches only blur; so that the faster
    # layout of images, which sums batch statistics less exactly, is as good
    found |= {"arch.params.set_bn_eval": True, "trainer.channels_last": True}
    found |= {"arch.params.embedding_dim": 512, "mode.learning_rate": 0.0003}
    if typed.get("arch", "").startswith("resnet") or found.get("arch", "").startswith("resnet"):
        found["arch.params.first_conv_3x3"] = False
    return found


def _has_fixed_input(typed: Mapping[str, str], weights: str | None) -> bool:
    """Whether the network takes images of one size alone, as most transformers of timm do."""
    name = typed.get("arch.params.model")
    if name is None and weights is not None and "arch" not in typed:
        name = network_of(Path(weights)).get("arch.params.model")
    if name is None:
        return False
    config = _timm().get_pretrained_cfg(name, allow_unregistered=True)
    return bool(config is not None and config.fixed_input_size)


def network_of(weights: Path) -> dict[str, Any]:
    """The network that a file of weights is named after, as `resnet18-f37072fd.pth`.

    Args:
        weights: file with a state dict of torchvision's resnet18 or resnet50, or of a net of timm.

    Returns:
        Overrides of the group `arch`.

    Raises:
        Refused: there is no such file, or its name begins with no name of a network.
    """
    if not weights.expanduser().is_file():
        raise Refused(f"weights={weights}: there is no such file")
    stem = weights.stem
    torchvision = re.match(r"(resnet18|resnet50)-[0-9a-f]{8}$", stem)
    if torchvision:
        return {"arch": torchvision[1], "arch.params.weights": weights}
    name = _timm_name(stem)
    return {"arch": "timm", "arch.params.model": name, "arch.params.weights": weights}


def _timm() -> ModuleType:
    import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision

    try:
        import timm
    except ModuleNotFoundError as error:
        raise Refused(
            "networks other than resnet18 and resnet50 need the library timm: pip install timm"
        ) from error
    return timm


def _timm_name(stem: str) -> str:
    """The longest name of an architecture of timm that the name of a file begins with."""
    timm = _timm()
    matches = [
        name for name in timm.list_models() if re.match(rf"{re.escape(name)}(?![0-9a-z_])", stem)
    ]
    if not matches:
        raise Refused(
            f"weights={stem}…: the file's name begins with no name of timm's networks, as "
            "tf_efficientnet_lite0.safetensors does; say which it is: arch=timm "
            "arch.params.model=NAME arch.params.weights=FILE"
        )
    return max(matches, key=len)


def _batches(facts: Facts, typed: Mapping[str, str], *, of_classes: bool) -> dict[str, Any]:
    """The sampler; at least eight batches an epoch where there are that many items."""
    if not of_classes:
        size = 2 ** int(np.log2(max(facts.n_train / 8, 8)))
        return {"sampler": "random", "sampler.batch_size": min(64, size, facts.n_train)}
    n_samples = min(4, max(2, facts.per_class))
    size = typed.get("sampler.batch_size", "")
    if size.isdigit():  # of which the items of a class must be a divisor
        n_samples = next((n for n in range(n_samples, 1, -1) if int(size) % n == 0), 1)
    n_classes = min(facts.n_classes, 96 // n_samples)
    return {
        "sampler": "m_per_class",
        "sampler.batch_size": n_classes * n_samples,
        "sampler.n_samples": n_samples,
    }


def _length(
    facts: Facts, typed: Mapping[str, str], *, pretrained: bool, images: bool
) -> dict[str, Any]:
    """The budget of images, unless a length was typed."""
    if {"mode.epochs", "mode.minutes", "mode.images_seen"} & set(typed):
        return {"mode.images_seen": None} if "mode.images_seen" not in typed else {}
    budget, fewest, most = _BUDGET_OF_FEATURES
    if images:
        budget, fewest, most = _BUDGET_WITH_WEIGHTS if pretrained else _BUDGET
    n = facts.n_train
    return {"mode.images_seen": min(max(budget, fewest * n), most * n)}
