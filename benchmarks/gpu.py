"""The GPU: the same workloads with their peers there, and which part of the roofline is reached."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from benchmarks import (
    data,
    evaluation,
    gpu_switches,
    loss,
    ours,
    peers,
    reference_2021,
    sampler,
    training,
)
from benchmarks.measure import Case, compare
from benchmarks.results import Entry, NotAvailable, Setting, made, versus
from benchmarks.workloads import TINY, Shape, shape_of, vmf_state

MILLION = Shape(64, 10, 1_000_000, 512, 0.7, -2.773)
GOALS = [
    ("loss iNat", "iid ≤ 0.35 ms (≥ 12x 2021, ≥ 3x compiled), antithetic ≤ 0.2 ms"),
    ("loss SOP", "≤ 0.15 ms"),
    ("plain softmax yardstick", "≤ 1.25x the time of a linear cross-entropy of the same (N,C,d)"),
    ("C=1e6, d=512, B=64", "≤ 8 ms, peak ≤ W + dW + 0.3 GB"),
    ("draws 605k x 512", "no host sync; ≥ 50 % of write bandwidth, ≤ 0.85 ms H100, ≤ 0.6 ms H200"),
    ("retrieval SOP", "10 samples ≤ 0.45 s, ≥ 5x faiss, ≥ 40 % of the GEMM rate, ≤ 1 GB"),
    ("MNIST loop", "≥ 4,000 steps/s"),
    ("CIFAR augmentation", "≥ 2 M images/s"),
    ("ResNet-50", "bf16 channels_last compiled ≥ 35 % of peak"),
]


def roofline(setting: Setting) -> tuple[Entry, dict[str, float]]:
    """Measured GEMM rates (flop/s) and copy bandwidth (byte/s) of this device."""
    n = setting.size(8192, 64)
    a = torch.randn(n, n, device=setting.device)
    half, big = a.bfloat16(), torch.empty(setting.size(2**28, 2**12), device=setting.device)
    target = torch.empty_like(big)

    def product(precision: str) -> Case:
        def run() -> None:
            torch.set_float32_matmul_precision(precision)
            a @ a
            torch.set_float32_matmul_precision("highest")

        return run

    cases = {
        "fp32": product("highest"),
        "TF32": product("high"),
        "bf16": lambda: half @ half,
        "copy": lambda: target.copy_(big),
    }
    times = compare(cases, setting.rounds, 2, device=setting.device, shortest=setting.shortest)
    rates = {name: 2 * n**3 / times.median(name) for name in ("fp32", "TF32", "bf16")}
    rates["copy"] = 2 * big.numel() * 4 / times.median("copy")
    entry = Entry("roofline", f"GEMM {n} x {n} x {n}, copy of {big.numel() * 4 / 2**20:.0f} MB")
    entry.figures = {k: {"tera_per_second": v / 1e12} for k, v in rates.items()}
    return entry, rates


def peak_mb(case: Case, device: str) -> float | None:
    """Extra device memory of one call; None on the processor."""
    if not device.startswith("cuda"):
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    case()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def compiled_step(shape: Shape, device: str) -> Case:
    """2021's draws as they are, its loss under torch.compile."""
    state = vmf_state(shape, device=device)
    leaves, formula = [state.z, state.weights, state.tau], peers.compiled(reference_2021.vmf_loss)

    def run() -> tuple[torch.Tensor, ...]:
        kappa, mu = reference_2021.split(state.z)
        draws = reference_2021.sample(mu, kappa, shape.S).permute(1, 0, 2)
        value = formula(state.z, state.weights, state.labels, (-state.tau).exp(), draws)
        return torch.autograd.grad(value, leaves)

    return run


def linear_softmax(who: str, shape: Shape, device: str) -> Case:
    """Linear cross-entropy of N = B S rows: how close to a plain softmax head can one get?"""
    n = shape.B * shape.S
    dtype = torch.bfloat16 if "bf16" in who else torch.float32
    x = torch.randn(n, shape.D, device=device, dtype=dtype).requires_grad_()
    w = torch.randn(shape.C, shape.D, device=device, dtype=dtype).requires_grad_()
    y = torch.randint(shape.C, (n,), device=device)
    functions: dict[str, Callable[[], Callable[[], Any]]] = {
        "linear CE eager bf16": lambda: lambda: functional.cross_entropy(x @ w.T, y),
        "linear CE torch": lambda: lambda: peers.linear_cross_entropy(x, w, y),
        "linear CE cut bf16": lambda: partial(
            peers.needed("cut_cross_entropy").linear_cross_entropy, x, w, y
        ),
        "linear CE Liger bf16": lambda: partial(
            peers.needed("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss(), w, x, y
        ),
    }
    value = functions[who]()
    return lambda: torch.autograd.grad(value(), [x, w])


LINEAR = ("linear CE eager bf16", "linear CE torch", "linear CE cut bf16", "linear CE Liger bf16")


def steps(setting: Setting, rates: dict[str, float]) -> list[Entry]:
    """The vMF step at two shapes with all peers, and a million classes of 512 dimensions."""
    entries = []
    for name in ("iNat", "SOP", "C=1e6"):
        shape = setting.size(MILLION, TINY) if name == "C=1e6" else shape_of(name, setting.smoke)
        entry = Entry(f"step {name}", f"B,S,C,D = {shape}")
        mine = {w: partial(loss.step, w, shape, setting.device) for w in loss.OURS}
        makers: dict[str, Callable[[], Case]] = dict(mine)
        if name != "C=1e6":
            makers["2021"] = partial(loss.step, "2021", shape, setting.device)
            if not setting.smoke:
                makers["compiled 2021"] = partial(compiled_step, shape, setting.device)
            linear = setting.size(LINEAR, LINEAR[:1])
            makers |= {w: partial(linear_softmax, w, shape, setting.device) for w in linear}
        result = versus(entry, setting, makers)
        for who, case in made(mine)[0].items():
            if not result.seconds.get(who):
                continue
            products = shape.B * shape.S / (2 if "antithetic" in who else 1)
            flops = 6 * products * shape.C * shape.D
            rate = flops / result.median(who)
            entry.figures[who] |= {"TF32_fraction": rate / rates["TF32"],
                                   "bf16_fraction": rate / rates["bf16"],
                                   "peak_mb": peak_mb(case, setting.device)}  # fmt: skip
        entries.append(entry)
    return entries


def drawing(setting: Setting, rates: dict[str, float]) -> Entry:
    """605,020 draws in 512 dimensions, and whether they make the host wait."""
    n, dim = setting.size((605_020, 512), (50, 16))
    entry = Entry("draws", f"{n} x {dim}, kappa 700")
    makers = {w: partial(sampler.draws, w, n, dim, 700.0, setting.device)
              for w in ("2021", "ours", "normals")}  # fmt: skip
    result = versus(entry, setting, makers)
    written = n * dim * 4
    entry.figures["ours"]["bandwidth_fraction"] = written / result.median("ours") / rates["copy"]
    if setting.device.startswith("cuda"):
        case = makers["ours"]()
        torch.cuda.set_sync_debug_mode("error")
        try:
            case()
            entry.notes.append("no host sync while drawing")
        except RuntimeError as error:
            entry.notes.append(f"the host waits while drawing: {str(error).splitlines()[0]}")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return entry


def retrieving(setting: Setting, rates: dict[str, float]) -> Entry:
    """Scores at the size of SOP, one draw; faiss on the GPU where it is installed for it."""
    n, n_classes, dim = setting.size((60_502, 11_316, 512), (60, 12, 16))
    entry = Entry("retrieval SOP", f"n={n}, d={dim}, one draw")
    names = ("ours", "ours torch", *(["ours faiss"] if _faiss_sees_gpu() else []))
    makers = {w: partial(evaluation.evaluate, w, n, n_classes, dim, setting.device) for w in names}
    result = versus(entry, setting, makers)
    for who in names:
        if result.seconds.get(who):
            rate = 2 * n**2 * dim / result.median(who)
            entry.figures[who]["TF32_fraction"] = rate / rates["TF32"]
            entry.figures[who]["peak_mb"] = peak_mb(makers[who](), setting.device)
    if "ours faiss" not in names:
        entry.notes.append("faiss is not installed for this device: no peer for the search")
    return entry


def _faiss_sees_gpu() -> bool:
    try:
        faiss = peers.needed("faiss")
    except NotAvailable:
        return False
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def loops(setting: Setting, rates: dict[str, float]) -> list[Entry]:
    """Augmentation in images/s, MNIST steps/s, ResNet-50 as a share of the bf16 GEMM rate."""
    from vmf_embeddings.datasets.augment import Augmentation

    n = setting.size(4096, 16)
    move = Augmentation(occlusion=8)
    images = torch.randint(256, (n, 3, 32, 32), device=setting.device, dtype=torch.uint8)
    entry = Entry("CIFAR augmentation", f"{n} pictures at once, resident")
    makers = {"ours": lambda: lambda: move.after_normalising(
        move.before_normalising(images, None).float().div_(255), None)}  # fmt: skip
    result = versus(entry, setting, makers, units={"ours": float(n)})
    entry.figures["ours"]["images_per_second"] = 1 / result.median("ours")
    n_episodes = setting.size(250, 2)
    mnist = Entry("MNIST loop", f"{n_episodes} episodes of 130 pictures")
    makers = {w: partial(data.epoch, w, setting.size(50_000, 600), n_episodes, setting.device)
              for w in ("2021", "ours")}  # fmt: skip
    result = versus(mnist, setting, makers, units=dict.fromkeys(makers, float(n_episodes)))
    for who in makers:
        mnist.figures[who]["steps_per_second"] = 1 / result.median(who)
    if setting.smoke:
        return [entry, mnist]
    batch = 512
    net = Entry("ResNet-50", f"batch {batch} of 3x32x32, bf16, channels_last, compiled")
    switch = "bf16+channels_last+fused+compile"
    makers = {f"ours {s}": partial(training.train_step, "resnet50", s, (batch, 3, 32),
                                   setting.device) for s in ("bf16", switch)}  # fmt: skip
    result = versus(net, setting, makers, units=dict.fromkeys(makers, float(batch)))
    flops = 3 * forward_flops("resnet50", (2, 3, 32)) / 2
    for who in makers:
        if result.seconds.get(who):
            net.figures[who]["bf16_fraction"] = flops / result.median(who) / rates["bf16"]
    return [entry, mnist, net]


def forward_flops(arch: str, batch: tuple[int, int, int]) -> float:
    """Floating-point operations of a forward pass, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    n, channels, side = batch
    net = ours.build_arch(arch, n_classes=100).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.randn(n, channels, side, side))
    return float(counter.get_total_flops())


def main(setting: Setting) -> list[Entry]:
    """Everything that is asked of a GPU, beside its goals."""
    if not (setting.smoke or setting.device.startswith("cuda")):
        return [Entry("gpu", "no GPU was asked for: python -m benchmarks gpu --device cuda")]
    first, rates = roofline(setting)
    first.notes += [f"goal, {name}: {text}" for name, text in GOALS]
    return [first, *steps(setting, rates), drawing(setting, rates), retrieving(setting, rates),
            *loops(setting, rates), *gpu_switches.main(setting)]  # fmt: skip
