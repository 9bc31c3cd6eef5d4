"""Errors of Triton's log partition, in its interpreter on the CPU; prints them as JSON.

    TRITON_INTERPRET=1 python -m tests.directional.triton_cases
    python -m tests.directional.triton_cases --compile      # for an H100, which need not be there

In a process of its own: Triton reads the variable when it is imported.
"""

import json
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.directional import partition
from vmf_embeddings.directional.kernels.triton_partition import TritonPartition
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.partition_tile import TorchPartition

# dim, angles S', antithetic pairs, images, classes; sizes fill no tile, 2,100 classes two splits
CASES = [
    *((dim, s, pairs, 5, 37) for dim in (16, 128) for s in (1, 3, 5) for pairs in (True, False)),
    (128, 1, True, 19, 301),
    (16, 2, False, 3, 2101),
]


def problem(dim: int, n_angles: int, n_images: int, n_classes: int) -> tuple[Tensor, ...]:
    """Mu [B, D], angles, class weights and beta as in training; float64, exact in float32."""
    rng = torch.Generator().manual_seed(dim + n_angles)
    mu = torch.nn.functional.normalize(torch.randn(n_images, dim, generator=rng), dim=-1)
    angle = 0.1 + 2 * torch.rand(n_angles, n_images, generator=rng)
    weights = max(3, dim / 16) * torch.randn(n_classes, dim, generator=rng)
    return tuple(t.double() for t in (mu, angle, weights, torch.tensor(max(2.3, dim / 32))))


def result(kind: type, dtype: torch.dtype, pairs: bool, inputs: tuple[Tensor, ...]) -> dict:
    """Log sums, value and gradients; the tangents are the same in every dtype."""
    mu, angle, weights, beta = (t.to(dtype) for t in inputs)
    rng = torch.Generator().manual_seed(0)
    normals = torch.randn(len(angle), *mu.shape, generator=rng).double()
    along = (normals * inputs[0]).sum(-1, keepdim=True)
    tangent = normals - along * inputs[0]
    length = tangent.norm(dim=-1, keepdim=True)
    points = torch.cat([inputs[0][None], tangent / length]).to(dtype)
    draw_weight = 1 / (angle.numel() * (1 + pairs))
    sums = partition.LogPartitionSum(weights, beta, pairs, draw_weight)
    sums.partition = kind(
        weights, beta, normalizer_kernel(weights.shape[-1], dtype), pairs, draw_weight
    )
    sums.weights = weights  # without the padding of another code
    log_sums = sums.log_sums(points, angle)
    ratio = (along / length).squeeze(-1).to(dtype)
    grad_mu, grad_angle = sums.add_distributions(points, angle, ratio)
    grad_weights, grad_beta = sums.gradients()
    found = {"log_sums": log_sums, "value": sums.value, "mu": grad_mu, "angle": grad_angle}
    return found | {"weights": grad_weights, "beta": grad_beta}


def errors(case: tuple) -> dict[str, float]:
    """To PyTorch's code in float64: of log sums and value absolute, of gradients relative."""
    dim, n_angles, pairs, *sizes = case
    inputs = problem(dim, n_angles, *sizes)
    exact = result(TorchPartition, torch.float64, pairs, inputs)
    found = result(TritonPartition, torch.float32, pairs, inputs)
    differences = {k: float((found[k] - exact[k]).abs().max()) for k in ("log_sums", "value")}
    for name in ("mu", "angle", "weights", "beta"):
        scale = exact[name].abs().max()
        differences[name] = float((found[name] - exact[name]).abs().max() / scale)
    if n_angles == 3:
        again = result(TritonPartition, torch.float32, pairs, inputs)
        differences["twice"] = max(float((found[k] - again[k]).abs().max()) for k in found)
    return differences


def of_a_part() -> dict[str, float]:
    """Differences to PyTorch where the classes are a part of all, with weights, in two blocks."""
    mu, angle, weights, beta = (t.float() for t in problem(128, 3, 6, 70))
    log_weights = torch.linspace(0, 2, len(weights))
    found = {}
    for kind in (TorchPartition, TritonPartition):
        partition.partition_of = lambda w, b, *rest, kind=kind: kind(
            w, b, normalizer_kernel(w.shape[-1], w.dtype), *rest
        )
        partition.CPU_BLOCK = 24 * 40  # classes in a block: 40
        rng = torch.Generator().manual_seed(0)
        inputs = (mu, angle, weights, beta, True, rng, lambda log_sums: log_sums + 1)
        found[kind] = partition.log_partition(*inputs, log_weights)
    pairs = zip(found[TorchPartition]._fields, *found.values(), strict=True)
    return {name: float((a - b).abs().max() / a.abs().max()) for name, a, b in pairs}


def compiled() -> Iterator[str]:
    """Names of the kernels that compile for compute capability 9.0, with pairs and without."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from vmf_embeddings.directional.kernels import triton_code, triton_partition

    plan = normalizer_kernel(128, torch.float32).plan
    sizes = {"images_of_tile": triton_partition.IMAGES_OF_TILE}
    sizes |= {"classes_of_tile": triton_partition.CLASSES_OF_TILE}
    sizes |= {"order": plan.order, "values": plan.value}
    sizes |= {"dim": 128, "width": triton_partition.WIDTH_OF_NORM}
    own = {
        triton_code.terms_kernel: {"classes_of_tile": triton_partition.CLASSES_OF_NORM},
        triton_code.log_sums_kernel: {"tiles_of_split": triton_partition.TILES_OF_SPLIT},
        triton_code.gradients_kernel: {"slopes": plan.slope, "n_draws": 5},
    }
    for kernel, options in own.items():
        for signs in (1, 2):
            fixed = sizes | options | {"signs": signs}
            fixed = {name: fixed[name] for name in kernel.arg_names if name in fixed}
            kinds = {"v_stride": "i32", "weight": "fp32"} | dict.fromkeys(fixed, "constexpr")
            signature = {
                name: kinds.get(name, "i32" if name.startswith("n_") else "*fp32")
                for name in kernel.arg_names
            }
            places = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
            triton.compile(
                ASTSource(kernel, signature, constexprs=places),
                target=GPUTarget("cuda", 90, 32),
                options={"num_warps": triton_partition.N_WARPS},
            )
            yield f"{kernel.fn.__name__} {signs}"


def main() -> None:
    torch.set_num_threads(1)
    if "--compile" in sys.argv:
        print(json.dumps(list(compiled())))
    else:
        cases = {str(case): errors(case) for case in CASES}
        print(json.dumps({"cases": cases, "part": of_a_part()}, indent=1))


if __name__ == "__main__":
    main()
