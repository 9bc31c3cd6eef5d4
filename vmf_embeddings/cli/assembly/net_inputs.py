"""Image size and normalisation of the network's own weights, written into the configuration.

`dataset.params.normalisation=auto` and `image_size=auto` become numbers before anything is built,
so that a run states them, and reads the same images wherever it is loaded.
"""

import logging
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.cli.assembly.targets import checked_option

if TYPE_CHECKING:
    from vmf_embeddings.archs.net_inputs import NetInputs

log = logging.getLogger(__name__)

CLOSE = 0.005  # means and standard deviations that differ by less are the same up to rounding


def resolve_net_inputs(cfg: DictConfig) -> None:
    """Replaces `auto` in the data set's normalisation and image size, in place.

    Logs a warning where weights are given and images are normalised otherwise than theirs were.

    Args:
        cfg: composed configuration.

    Raises:
        Refused: the network has no images of its own, or its name is unknown.
    """
    params = cfg.dataset.get("params") or {}
    if not isinstance(params, DictConfig | dict):
        return  # whoever builds the data set says what is wrong with it
    auto_normalisation = params.get("normalisation") == "auto"
    auto_size = params.get("image_size") == "auto"
    if not (auto_normalisation or auto_size):
        if "normalisation" in params and _has_weights(cfg):
            _warn_of_others(cfg, params)
        return
    own = _native(cfg)
    if own is None:
        wanted = "image_size" if auto_size else "normalisation"
        raise Refused(
            f"dataset.params.{wanted}=auto: arch={cfg.arch.name} with these options has no weights "
            "that others trained, and so no images of its own; say "
            + (
                "dataset.params.image_size=224"
                if auto_size
                else "dataset.params.normalisation=data"
            )
        )
    found: dict[str, Any] = {}
    if auto_size:
        found["image_size"] = own.image_size
    if auto_normalisation:
        found |= {"normalisation": "data", "mean": list(own.mean), "std": list(own.std)}
        given = params.get("crop_fraction")
        crop_fraction = own.crop_fraction if given is None else given
        found |= {"interpolation": own.interpolation, "crop_fraction": crop_fraction}
    for key, value in found.items():
        OmegaConf.update(cfg, f"dataset.params.{key}", value)
    shown = ", ".join(f"{key}={value}" for key, value in found.items() if key != "normalisation")
    log.info("As the weights of %s were trained: %s", _net_name(cfg), shown)


def _native(cfg: DictConfig) -> "NetInputs | None":
    """The images of the configured network, without building it."""
    params = OmegaConf.to_container(cfg.arch.params, resolve=True)
    # a class that the user allowed need not be an `Arch`
    known = getattr(checked_option("arch", params.get("_target_")), "native_inputs", None)
    try:
        return None if known is None else known(params)
    except ValueError as error:
        raise Refused(str(error)) from error


def _has_weights(cfg: DictConfig) -> bool:
    params = cfg.arch.get("params") or {}
    return bool(params.get("weights") or params.get("pretrained"))


def _net_name(cfg: DictConfig) -> str:
    """Name of a network for messages: "timm's resnet50" or "arch=resnet50"."""
    model = cfg.arch.params.get("model")
    return f"arch={cfg.arch.name}" if model is None else f"{cfg.arch.name}'s {model}"


def _warn_of_others(cfg: DictConfig, params: DictConfig) -> None:
    """Warns where images get another mean or std than those that the weights were trained on."""
    from vmf_embeddings.datasets.normalisation import chosen_normalisation

    try:
        own = _native(cfg)
        given = chosen_normalisation(params.normalisation, params.get("mean"), params.get("std"))
    except ValueError:  # whoever builds the part says what is wrong with it
        return
    if own is None or given.bgr:
        return
    pairs = [*zip(own.mean, given.mean, strict=True), *zip(own.std, given.std, strict=True)]
    if max(abs(a - b) for a, b in pairs) > CLOSE:
        log.warning(
            "The weights of %s were trained on images with mean %s and std %s, but these get mean "
            "%s and std %s: add dataset.params.normalisation=auto",
            *(_net_name(cfg), list(own.mean), list(own.std), list(given.mean), list(given.std)),
        )
