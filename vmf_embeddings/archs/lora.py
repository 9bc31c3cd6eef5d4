"""LoRA: low-rank updates of the linear layers of a transformer, whose own weights are frozen.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models",
https://arxiv.org/abs/2106.09685, by the library peft: W x becomes W x + (alpha / r) B A x, with A
[r, in] random and B [out, r] zero at the start, so that training begins at the given weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

# names of linear layers inside the blocks of transformers: of attention, and of the two-layer part
LAYERS = (
    *("qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "proj", "out_proj"),
    *("fc1", "fc2", "fc1_g", "fc1_x", "w12", "w1", "w2", "w3"),
)


@dataclass(frozen=True)
class Lora:
    """Options of `arch.params.lora`.

    Attributes:
        rank: r >= 1.
        alpha: scale of the update, times r; None = r, a factor of 1.
        dropout: of the inputs of A in training, in [0, 1).
        target: "auto", or names of linear layers, such as ["qkv"].

    Raises:
        ValueError: a value is out of range.
    """

    rank: int
    alpha: float | None = None
    dropout: float = 0.0
    target: str | tuple[str, ...] = "auto"

    def __post_init__(self) -> None:
        if type(self.rank) is not int or self.rank < 1:
            raise ValueError(f"arch.params.lora: rank must be at least 1, got {self.rank!r}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"arch.params.lora: dropout must be in [0, 1), got {self.dropout!r}.")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"arch.params.lora: alpha must be above 0, got {self.alpha!r}.")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Lora":
        """The options as written in a configuration, such as {"rank": 8}.

        Raises:
            ValueError: a key is unknown, or rank is missing.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in params if key not in known]
        if unknown or "rank" not in params:
            wrong = f"got {unknown[0]!r}" if unknown else "rank is missing"
            raise ValueError(
                f"arch.params.lora takes {', '.join(known)} as in {{rank: 8}}; {wrong}."
            )
        target = params.get("target", "auto")
        given = {**params, "target": target if isinstance(target, str) else tuple(target)}
        return cls(**given)


def add_lora(net: nn.Module, options: Lora, name: str) -> None:
    """Adds low-rank updates to the linear layers of a network, in place, and freezes the rest.

    The weights of a changed layer `L` are then named `L.base_layer.weight`.

    Args:
        net: a transformer.
        options: rank, scale, dropout and layers.
        name: of the network, for messages.

    Raises:
        ValueError: the network has no such layers, or peft is not installed.
    """
    wanted = LAYERS if options.target == "auto" else _named(options.target)
    linear = [key for key, module in net.named_modules() if isinstance(module, nn.Linear)]
    chosen = [key for key in linear if key.rpartition(".")[2] in wanted or key in wanted]
    if not chosen:
        there = sorted({key.rpartition(".")[2] for key in linear})
        raise ValueError(
            f"arch.params.lora: {name} has no linear layers named {', '.join(wanted)}; it has "
            f"{', '.join(there) or 'none'}. LoRA is for transformers; for other nets say "
            "arch.params.trainable_from=LAYER"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise ValueError(
            "arch.params.lora needs the library peft, which is not installed: pip install peft (or "
            "this package with the extra [lora])"
        ) from error
    alpha = options.rank if options.alpha is None else options.alpha
    inject_adapter_in_model(
        LoraConfig(
            r=options.rank, lora_alpha=alpha, lora_dropout=options.dropout, target_modules=chosen
        ),
        net,
    )
    for key, parameter in net.named_parameters():
        parameter.requires_grad_(".lora_" in key)


def _named(target: str | tuple[str, ...]) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else target


def with_lora_names(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """A state dict of a network without LoRA under the names of the same one with it.

    Args:
        state: name -> tensor.
        net: with updates, which keep their values; or without, and nothing changes.
    """
    renamed = dict(state)
    for key, tensor in net.state_dict().items():
        plain = key.replace(".base_layer.", ".")
        if plain != key and plain in renamed:
            renamed[key] = renamed.pop(plain)
        elif ".lora_" in key:
            renamed.setdefault(key, tensor)
    return renamed
