"""How many parameters learn, by part, in one line."""

from torch import nn

from vmf_embeddings.methods.base import Method
from vmf_embeddings.untrusted.refused import Refused


def learned_line(method: Method) -> str:
    """For the log: "Learns 1,234 of 4,567,890 parameters (projection 1,024, class weights 210)"."""
    sizes: dict[str, int] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            part = _part(name, parameter, method)
            sizes[part] = sizes.get(part, 0) + parameter.numel()
    total = sum(p.numel() for p in method.parameters())
    listed = ", ".join(f"{part} {size:,}" for part, size in sizes.items())
    return f"Learns {sum(sizes.values()):,} of {total:,} parameters ({listed or 'none'})"


def _part(name: str, parameter: nn.Parameter, method: Method) -> str:
    """Which part of the method a parameter belongs to."""
    if any(parameter is one for one in method.arch.embedding_parameters()):
        return "projection"
    if any(parameter is one for one in method.all_class_weights()):
        return "class weights"
    if any(parameter is one for one in method.arch.parameters()):
        return "LoRA" if ".lora_" in name else "backbone"
    return "objective"


def refuse_nothing_to_learn(method: Method) -> None:
    """Refuses to train a method of which no parameter learns.

    Raises:
        Refused: says what to type.
    """
    if not any(p.requires_grad for p in method.parameters()):
        raise Refused(
            "nothing learns: the backbone is frozen or there is none, its features are the "
            f"embeddings, and method={method.name} has no parameters. Say "
            "arch.params.projection=linear (for feature vectors arch=linear), or "
            "arch.params.frozen=false, or mode.epochs=0 to use the features as they are"
        )
