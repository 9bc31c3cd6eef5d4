"""A coupling with both of its networks as one differentiable function, which launches few kernels.

With the networks' outputs (r_1, t_1) and (r_2, t_2), s = k atan(r) and both halves (x_1, x_2):

    z_1 = x_1 exp(s_1) + t_1, r_1 and t_1 from (x_2, condition)
    z_2 = x_2 exp(s_2) + t_2, r_2 and t_2 from (z_1, condition)
    ds = dz exp(s) x + d(log det),   dr = ds k / (1 + r^2),   dt = dz.

In the backward pass the weights of all hidden layers get their gradients by one batched product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.once_differentiable import once_differentiable

Layers = Sequence[tuple[Tensor, Tensor]]  # weight [out, in] and bias [out] of every linear layer


def coupled(
    x: Tensor,
    condition: Tensor | None,
    by_tail: Layers,
    by_head: Layers,
    n_first: int,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Transforms the first half of every row given the second, then the second given the new first.

    Args:
        x: [B, D].
        condition: a further input of both networks [B, n], or None.
        by_tail: layers of the network that takes the second half, with ReLU between them.
        by_head: those of the network that takes the first half; as many, of the same widths.
        n_first: length of the first half.
        slope: k > 0, log scales are k atan(r).

    Returns:
        z [B, D] and log |det dz/dx| [B], differentiable once.

    Example:
        >>> net = [(torch.eye(1), torch.zeros(1)), (torch.eye(2, 1), torch.ones(2))]
        >>> coupled(torch.zeros(1, 2), None, net, net, 1, 0.0)
        (tensor([[1., 1.]]), tensor([0.]))
    """
    flat = [tensor for net in (by_tail, by_head) for layer in net for tensor in layer]
    return _Coupled.apply(x, condition, n_first, slope, *flat)


class _Coupled(torch.autograd.Function):
    """`coupled`; network 0 is `by_tail`, network 1 `by_head`."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        condition: Tensor | None,
        n_first: int,
        slope: float,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        depth, width = len(parameters) // 4, len(parameters[0])
        halves = (slice(None, n_first), slice(n_first, None))
        # layer by layer, so that equal layers of both networks follow each other
        hidden = x.new_empty(depth - 1, 2, len(x), width)
        z, log_scale, scale = (torch.empty_like(x) for _ in range(3))
        inputs, slopes = [], []
        given = x[:, halves[1]]
        for i, half in enumerate(halves):
            inputs.append(given if condition is None else torch.cat([given, condition], -1))
            raw = _mlp(inputs[i], _layers(parameters, i), hidden[:, i])
            r, t = raw.chunk(2, -1)
            slopes.append(r.square().add_(1))  # slope / this is ds/dr
            torch.mul(r.atan(), slope, out=log_scale[:, half])
            torch.exp(log_scale[:, half], out=scale[:, half])
            given = torch.addcmul(t, x[:, half], scale[:, half], out=z[:, half])
        kept = inputs if condition is not None else ()  # else they are views of x and z
        ctx.save_for_backward(x, z, scale, hidden, *slopes, *parameters, *kept)
        ctx.slope, ctx.halves = slope, halves
        return z, log_scale.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, grad_z: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, z, scale, hidden, *others = ctx.saved_tensors
        (first, second), n = ctx.halves, ctx.halves[0].stop
        n_parameters = 4 * (len(hidden) + 1)
        slopes, parameters = others[:2], others[2 : 2 + n_parameters]
        inputs = others[2 + n_parameters :] or (x[:, second], z[:, first])
        grad_hidden, of_log_det = torch.empty_like(hidden), (ctx.slope * grad_log_det)[:, None]

        def network(i: int, half: slice, grad_half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Gradients of the half itself, of the network's output and of its input."""
            direct = grad_half * scale[:, half]
            of_r = torch.addcmul(of_log_det, direct, x[:, half], value=ctx.slope).div_(slopes[i])
            raw = torch.cat([of_r, grad_half], -1)
            layers = _layers(parameters, i)
            return direct, raw, _mlp_backward(raw, layers, hidden[:, i], grad_hidden[:, i])

        direct_2, raw_2, input_2 = network(1, second, grad_z[:, second])
        direct_1, raw_1, input_1 = network(0, first, grad_z[:, first] + input_2[:, :n])
        n_second = x.shape[1] - n
        direct_2 += input_1[:, :n_second]
        has_condition = ctx.needs_input_grad[1]
        grad_condition = input_1[:, n_second:] + input_2[:, n:] if has_condition else None
        of_layers = _layer_gradients(inputs, hidden, grad_hidden, (raw_1, raw_2))
        return torch.cat([direct_1, direct_2], -1), grad_condition, None, None, *of_layers


def _layers(parameters: Sequence[Tensor], network: int) -> Layers:
    """Weights and biases of one of the two networks."""
    own = parameters[network * len(parameters) // 2 :][: len(parameters) // 2]
    return [*zip(own[::2], own[1::2], strict=True)]


def _mlp(x: Tensor, layers: Layers, hidden: Tensor) -> Tensor:
    """Output of a network [B, m] for x [B, n]; fills the outputs of its hidden layers [L, B, w]."""
    *inner, (weight, bias) = layers
    for (inner_weight, inner_bias), out in zip(inner, hidden, strict=True):
        x = torch._addmm_activation(inner_bias, x, inner_weight.T, out=out)  # with ReLU
    return torch.addmm(bias, x, weight.T)


def _mlp_backward(grad: Tensor, layers: Layers, hidden: Tensor, grad_hidden: Tensor) -> Tensor:
    """Gradient of a network's input from that of its output.

    Fills `grad_hidden`, those of the outputs of the hidden layers before the ReLU [L, B, w].
    """
    through_relu = torch.ops.aten.threshold_backward
    for i in range(len(layers) - 1, 0, -1):
        grad = grad @ layers[i][0]
        grad = through_relu(grad, hidden[i - 1], 0, grad_input=grad_hidden[i - 1])
    return grad @ layers[0][0]


def _layer_gradients(
    inputs: Sequence[Tensor], hidden: Tensor, grad_hidden: Tensor, grad_raw: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of weights and biases, in the order of the parameters.

    Args:
        inputs: of both networks.
        hidden: outputs of their hidden layers [L, 2, B, w].
        grad_hidden: gradients of these before the ReLU, likewise.
        grad_raw: gradients of the outputs of both networks.
    """
    of_inner = torch.bmm(
        grad_hidden[1:].flatten(0, 1).transpose(1, 2), hidden[:-1].flatten(0, 1)
    ).unflatten(0, (-1, 2))
    of_biases = grad_hidden.sum(2)
    gradients = []
    for i, (given, raw) in enumerate(zip(inputs, grad_raw, strict=True)):
        weights = [grad_hidden[0, i].T @ given, *of_inner[:, i], raw.T @ hidden[-1, i]]
        biases = [*of_biases[:, i], raw.sum(0)]
        gradients += [g for layer in zip(weights, biases, strict=True) for g in layer]
    return gradients
