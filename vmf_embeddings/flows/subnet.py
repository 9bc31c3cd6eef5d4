"""The small networks inside a flow, which themselves need not be invertible."""

from itertools import pairwise

from torch import nn

INITS = ("default", "xavier")


def subnet(n_in: int, n_out: int, depth: int, width: int, init: str = "default") -> nn.Sequential:
    """Linear layers with ReLU between them and nothing behind the last.

    Args:
        n_in: width of the input.
        n_out: width of the output.
        depth: number of linear layers, >= 2.
        width: of every hidden layer, >= 1.
        init: "default" = PyTorch's; "xavier" = uniform after Glorot and zero biases in every layer
            but the first, which stays PyTorch's.

    Returns:
        Rows [B, n_in] -> [B, n_out].

    Example:
        >>> net = subnet(3, 2, depth=3, width=5)
        >>> [tuple(layer.weight.shape) for layer in net if hasattr(layer, "weight")]
        [(5, 3), (5, 5), (2, 5)]
    """
    if depth < 2 or width < 1:
        raise ValueError(
            f"the networks of a flow need a depth of at least 2 linear layers and a width of at "
            f"least 1, got {depth} and {width}."
        )
    if init not in INITS:
        raise ValueError(f"the networks of a flow start by one of {INITS}, got {init!r}.")
    layers: list[nn.Module] = []
    for n, m in pairwise([n_in, *[width] * (depth - 1), n_out]):
        layers += [nn.Linear(n, m), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    if init == "xavier":
        for layer in net[2::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net
