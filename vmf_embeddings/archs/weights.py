"""Initial weights of a backbone: reading files, downloading ImageNet weights, loading them."""

import logging
from pathlib import Path

from torch import Tensor, nn

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import read_safetensors, read_tensors

logger = logging.getLogger(__name__)


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or a torch file; nothing in the file is executed.

    Raises:
        FileNotFoundError: the file does not exist.
        Refused: it holds something else, or claims sizes that it does not have.
    """
    if not path.exists():
        raise FileNotFoundError(f"arch.params.weights={path}: no such file.")
    state = read_safetensors(path) if path.suffix == ".safetensors" else read_tensors(path)
    if not isinstance(state, dict):
        raise Refused(
            f"arch.params.weights={path}: expected names and tensors (a state dict), the file "
            f"holds a {type(state).__name__}"
        )
    return state


def imagenet_state(model: str) -> dict[str, Tensor]:
    """ImageNet weights of 2021 as torchvision has them, from torch.hub's cache or the network.

    Args:
        model: torchvision's name of the net.

    Raises:
        FileNotFoundError: neither has them.
    """
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - must come before torchvision
    from torchvision.models import get_model_weights

    weights = get_model_weights(model).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise FileNotFoundError(
            f"arch.params.pretrained=True: {weights.url} is neither in torch.hub's cache nor can "
            f"it be downloaded ({error}). Fetch it on a machine with network and add "
            f"arch.params.weights=PATH."
        ) from error


def load_weights(
    net: nn.Module, state: dict[str, Tensor], *, name: str, source: str, hint: str
) -> None:
    """Loads all tensors of a net from a state dict, which may contain others, such as a classifier.

    Args:
        net: loaded in place.
        state: name -> tensor.
        name: name of the net, for messages.
        source: where the state comes from, for messages.
        hint: what to type if the state does not match.

    Raises:
        ValueError: tensors are missing, or have another shape.
    """
    own = net.state_dict()
    # files from old versions of torch lack the batch counters; they are not needed
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [
        k for k in own if k in state and own[k].shape != getattr(state[k], "shape", "no tensor")
    ]
    if missing or wrong:
        raise ValueError(
            f"{source} does not hold this {name}: {len(missing)} tensors missing, "
            f"{len(wrong)} of another shape (first: {(missing + wrong)[0]}). {hint}"
        )
    net.load_state_dict({k: state.get(k, v) for k, v in own.items()})
    logger.info("Loaded %s from %s", name, source)
