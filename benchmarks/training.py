"""Training throughput: images per second of every backbone with every switch, and which exist."""

import torch

from benchmarks import ours
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, versus

SWITCHES = ("plain", "channels_last", "bf16", "fused optimizer", "compile", "channels_last+compile")
BACKBONES = {
    "n_digit_mnist": ({"embedding_dim": 3}, (130, 1, 28)),
    "resnet18": ({}, (64, 3, 32)),
    "resnet50": ({}, (32, 3, 32)),
    "resnet50 at 224": (
        {"first_conv_3x3": False, "embedding_dim": 512, "set_bn_eval": True},
        (8, 3, 224),
    ),
}


def existing() -> dict[str, str]:
    """Which switch has which key of the configuration, or "missing"."""
    trainer, optimizer = ours.conf("trainer", "default"), ours.conf("optimizer", "sgd")["params"]
    return {
        "channels_last": "trainer.channels_last" if "channels_last" in trainer else
        "missing: no trainer.channels_last",
        "compile": "trainer.compile" if "compile" in trainer else "missing: no trainer.compile",
        "bf16": "trainer.precision=bf16" if "precision" in trainer else "missing",
        "fused optimizer": "optimizer.params.fused" if "fused" in optimizer else
        "missing: no optimizer.params.fused",
    }  # fmt: skip


def train_step(arch: str, switch: str, batch: tuple[int, int, int], device: str, **changes) -> Case:
    """Forward, vMF loss, backward and an optimizer step on random pictures."""
    from benchmarks.peers import compiled

    n, channels, side = batch
    torch.manual_seed(0)
    net = ours.build_arch(arch, n_classes=100, use_vmf=True, learn_temp=True, **changes).to(device)
    net.train()
    weights = torch.randn(100, net.head.embedding_dim, device=device)
    method = ours.vmf_method(weights, torch.zeros((), device=device), 10)
    layout = torch.channels_last if "channels_last" in switch else torch.contiguous_format
    net = net.to(memory_format=layout)
    images = torch.randn(n, channels, side, side, device=device).to(memory_format=layout)
    labels = torch.randint(100, (n,), device=device)
    parameters = [*net.parameters(), *ours.vmf_parameters(method)]
    fused = True if "fused" in switch else None
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, nesterov=True, fused=fused)
    forward = compiled(net) if "compile" in switch else net
    half = torch.autocast(device.split(":")[0], torch.bfloat16, enabled="bf16" in switch)

    def run() -> None:
        optimizer.zero_grad()
        with half:
            z = forward(images)
        method.loss(z, labels).backward()
        optimizer.step()

    return run


def main(setting: Setting) -> list[Entry]:
    """One entry per backbone."""
    entries = []
    backbones = dict(list(BACKBONES.items())[: setting.size(4, 1)])
    switches = setting.size(SWITCHES, SWITCHES[:3])
    for name, (changes, batch) in backbones.items():
        batch = setting.size(batch, (4, *batch[1:]))
        arch = name.split()[0]
        entry = Entry(f"training {name}", f"batch {batch[0]} of {batch[1]}x{batch[2]}x{batch[2]}")
        makers = {
            f"ours {s}": lambda s=s, a=arch, b=batch, c=changes: train_step(
                a, s, b, setting.device, **c
            )
            for s in switches
        }
        units = dict.fromkeys(makers, float(batch[0]))
        result = versus(entry, setting, makers, units=units)
        for who in makers:
            if result.seconds.get(who):
                entry.figures[who]["images_per_second"] = 1 / result.median(who)
                gain = result.ratio("ours plain", who)
                entry.figures[who]["gain_over_plain"] = gain.median if gain else None
        entry.ratios = {}
        entry.notes += [f"switch {k}: {v}" for k, v in existing().items()]
        entries.append(entry)
    return entries
