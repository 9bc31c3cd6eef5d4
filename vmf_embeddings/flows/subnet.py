"""The small networks inside a flow; they need not be invertible themselves."""

from itertools import pairwise

from torch import nn

INITS = ("default", "xavier")


def mlp(n_in: int, n_out: int, depth: int, width: int, init: str = "default") -> nn.Sequential:
    """Multilayer perceptron: linear layers with ReLU between them, none after the last.

    Args:
        n_in: width of the input.
        n_out: width of the output.
        depth: number of linear layers, >= 2.
        width: width of every hidden layer, >= 1.
        init: "default" = PyTorch's; "xavier" = Xavier uniform weights and zero biases in every
            layer but the first, which keeps PyTorch's initialisation.

    Returns:
        Module [B, n_in] -> [B, n_out].

    Raises:
        ValueError: depth < 2, width < 1 or an unknown `init`.

    Example:
        >>> net = mlp(3, 2, depth=3, width=5)
        >>> [tuple(layer.weight.shape) for layer in net if hasattr(layer, "weight")]
        [(5, 3), (5, 5), (2, 5)]
    """
    if depth < 2 or width < 1:
        raise ValueError(
            "the networks of a flow need a depth of at least 2 linear layers and a width of at "
            f"least 1, got depth={depth} and width={width}."
        )
    if init not in INITS:
        raise ValueError(f"init of a flow must be one of {INITS}, got {init!r}.")
    layers: list[nn.Module] = []
    for n, m in pairwise([n_in, *[width] * (depth - 1), n_out]):
        layers += [nn.Linear(n, m), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    if init == "xavier":
        for layer in net[2::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net
