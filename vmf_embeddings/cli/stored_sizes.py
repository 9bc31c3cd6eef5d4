"""Sizes in a received configuration, compared with the weights beside it before building."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

GROUPS = ("arch", "method", "head", "loss", "criterion", "miner")
ALWAYS_ALLOWED = 100_000_000  # numbers, 400 MB in float32: small weights may belong to larger nets


def refuse_sizes_beyond_weights(
    nodes: Mapping[str, Any], checkpoint: Mapping[str, Any], source: str
) -> None:
    """Refuses widths that no network with these weights can have.

    A width w costs at least w numbers, and a width in a list of widths w^2, for such a list builds
    layers from one to the next. Without this check 1 KB of configuration could ask for terabytes.

    Args:
        nodes: group -> option of the stored configuration.
        checkpoint: the state that holds `method_state_dict`, or 2021's `arch_state_dict`.
        source: where both come from, for messages.

    Raises:
        Refused: naming the parameter.
    """
    weights = checkpoint.get("method_state_dict") or checkpoint.get("arch_state_dict") or {}
    n_numbers = sum(tensor.numel() for tensor in weights.values() if isinstance(tensor, Tensor))
    most = max(n_numbers, ALWAYS_ALLOWED)
    for group in GROUPS:
        for place, cost in _costs(nodes.get(group), group):
            if cost > most:
                raise Refused(
                    f"{printable(source)}: {printable(place)[:120]} asks for a network of at "
                    f"least {cost:.3g} numbers, and the checkpoint holds {n_numbers}"
                )


def _costs(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """Every whole number of an option by its place, with what it costs at least as a width."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _costs(inside, f"{place}.{key}")
    elif isinstance(value, list):
        yield place, sum(one * one for one in value if _is_whole(one))
        for inside in value:
            yield from _costs(inside, place)
    elif _is_whole(value):
        yield place, abs(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
