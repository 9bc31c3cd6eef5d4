"""The library timm: networks by name, options of their constructors, published weights."""

import difflib
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.archs.net_inputs import NetInputs

PREFIX = "timm:"
# arguments of timm that are other keys here, or that read files or the network
RESERVED = {
    "num_classes": "arch.params.projection and the objective decide on what follows the features",
    "in_chans": "say arch.params.in_channels",
    "global_pool": "say arch.params.pool",
    "pretrained": "say arch.params.weights",
    "checkpoint_path": "say arch.params.weights",
    "cache_dir": "timm's cache is set by the environment variable HF_HUB_CACHE",
    "features_only": "features here are pooled",
    "out_indices": "features here are pooled",
}
LARGEST_OPTION = 2**16  # a number of layers beyond it takes all memory before the first is built


def library() -> ModuleType:
    """The library timm.

    Raises:
        ValueError: it is not installed.
    """
    import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision

    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ValueError(
            "arch=timm needs the library timm, which is not installed: pip install timm (or this "
            "package with the extra [timm]). arch=resnet50 needs nothing more."
        ) from error
    return timm


def refuse_unknown(model: str) -> None:
    """Refuses names that timm does not list as architectures, without any download.

    Raises:
        ValueError: with the closest names.
    """
    timm = library()
    known = timm.list_models()
    if model in known:
        return
    close = difflib.get_close_matches(model, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if "." in model and model.split(".")[0] in known:
        hint = f"did you mean arch.params.model={model.split('.')[0]} with that as its weights? "
    raise ValueError(
        f"arch.params.model={str(model)[:200]}: timm {timm.__version__} has no such architecture; "
        f"{hint}It has {len(known)}: python -c 'import vmf_embeddings.torchvision_compat, timm; "
        "print(timm.list_models())'. Weights are "
        f"named by arch.params.weights={PREFIX}NAME"
    )


def refuse_other_weights(model: str, name: str) -> None:
    """Refuses names of weights that timm does not list for an architecture.

    Raises:
        ValueError: with the names that it lists.
    """
    timm = library()
    known = timm.list_pretrained(f"{model}.*")
    if name not in known:
        raise ValueError(
            f"arch.params.weights={PREFIX}{name[:200]}: timm {timm.__version__} knows no such "
            f"weights of {model}; it knows {', '.join(known) or 'none'}"
        )


def created(model: str, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    """A network of timm with random weights and without a classifier.

    Args:
        model: name of an architecture.
        in_channels: of the images.
        options: arguments of timm's constructor, such as {"img_size": 224}.

    Raises:
        ValueError: an option is none of this network's, or its value cannot be used.
    """
    for key, value in options.items():
        _check_option(model, str(key), value)
    try:
        return library().create_model(
            model, pretrained=False, num_classes=0, in_chans=in_channels, **options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, AttributeError) as error:
        if not options:
            raise
        shown = ", ".join(f"{key}: {value}" for key, value in options.items())
        raise ValueError(
            f"arch.params.options={{{shown}}}: timm's {model} cannot be built with them: {error}"
        ) from error


def _check_option(model: str, key: str, value: Any) -> None:
    """Refuses what is no option of a constructor, or no plain value."""
    if key in RESERVED or key.startswith("pretrained"):
        instead = RESERVED.get(key, "say arch.params.weights")
        raise ValueError(f"arch.params.options: {key} is not an option here; {instead}")
    values = value if isinstance(value, list | tuple) else [value]
    if not all(one is None or isinstance(one, bool | int | float | str) for one in values):
        raise ValueError(
            f"arch.params.options: {key} of timm's {model} must be a number, a text, true, false, "
            f"null, or a list of these; got {value!r}"
        )
    if any(isinstance(one, int | float) and not abs(one) <= LARGEST_OPTION for one in values):
        raise ValueError(
            f"arch.params.options: {key} of timm's {model} holds a number beyond {LARGEST_OPTION}"
        )


def fetched(name: str, model: str, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    """A network with weights that timm downloads by their name, or has in its cache.

    Args:
        name: of the weights, such as "resnet50.tv_in1k".
        model: name of the architecture, for the message.
        in_channels: weights of the first layer are adapted to it.
        options: of the constructor; position embeddings are resampled to another image size.

    Raises:
        FileNotFoundError: they are neither in the cache nor can they be downloaded.
    """
    try:
        return library().create_model(
            name, pretrained=True, num_classes=0, in_chans=in_channels, **options
        )
    except Exception as error:  # of whichever library timm downloads with
        raise FileNotFoundError(
            f"arch.params.weights={PREFIX}{name}: timm can neither find these weights in its cache "
            f"nor download them ({type(error).__name__}: {error}). Fetch them on a machine with "
            'network, as by python -c "import timm, torch; torch.save('
            f"timm.create_model('{name}', pretrained=True).state_dict(), 'weights.pth')\", "
            "and say arch.params.weights=PATH."
        ) from error


def adapted(state: dict[str, Tensor], net: nn.Module, model: str) -> dict[str, Tensor]:
    """A state dict whose position embeddings and names are those of `net`, where timm knows how.

    Used where tensors do not fit as they are: images of another size, or names of another program.

    Args:
        state: name -> tensor.
        net: created by timm, without LoRA.
        model: name of its architecture.
    """
    own = net.state_dict()
    fits = all(k in state and getattr(state[k], "shape", None) == v.shape for k, v in own.items())
    registry = importlib.import_module("timm.models._registry")
    module = importlib.import_module(registry.model_entrypoint(model).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    if fits or convert is None:
        return state
    try:
        return convert(dict(state), net)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return state  # loading then says which tensors do not fit


def native_inputs(model: str, weights: str | None, options: Mapping[str, Any]) -> NetInputs | None:
    """The images that published weights of a network were trained on; it is not built.

    Args:
        model: name of the architecture.
        weights: `timm:NAME` = those weights; otherwise timm's default ones of the architecture.
        options: `img_size` replaces the image size.

    Returns:
        None where timm knows no weights of it.

    Raises:
        ValueError: there is no such architecture.
    """
    refuse_unknown(model)
    name = model
    if weights is not None and weights.startswith(PREFIX):
        name = weights.removeprefix(PREFIX)
        refuse_other_weights(model, name)
    config = library().get_pretrained_cfg(name)
    if config is None:
        return None
    size = options.get("img_size") or config.input_size[-1]
    return NetInputs(
        mean=tuple(map(float, config.mean)),
        std=tuple(map(float, config.std)),
        image_size=int(size[0] if isinstance(size, list | tuple) else size),
        crop_fraction=float(config.crop_pct),
        interpolation=config.interpolation or "bicubic",
    )
