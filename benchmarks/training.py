"""Training throughput: the project's own loop on every backbone with every switch, images/s."""

import numpy as np

from benchmarks import ours
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, versus

SWITCHES = ("plain", "default", "fused", "channels_last", "bf16", "bf16+channels_last", "compile",
            "bf16+channels_last+fused+compile")  # fmt: skip
KEYS = {
    "plain": "trainer.precision=no trainer.channels_last=false optimizer.params.fused=false",
    "default": "as the configuration ships",
    "fused": "optimizer.params.fused=true",
    "channels_last": "trainer.channels_last=true",
    "bf16": "trainer.precision=bf16 trainer.channels_last=false",
    "compile": "trainer.compile=true",
}
BACKBONES = {
    "n_digit_mnist": ({"embedding_dim": 3}, (130, 1, 28), 10),
    "resnet18": ({}, (64, 3, 32), 1),
    "resnet50": ({}, (32, 3, 32), 1),
    # without weights BatchNorm must learn: frozen at 0 and 1 its signals end in subnormal numbers,
    # with which a processor is three times as slow
    "resnet50 at 224": ({"first_conv_3x3": False, "embedding_dim": 512}, (8, 3, 224), 1),
}


def train_step(
    arch: str, switch: str, batch: tuple[int, int, int], device: str, n_batches: int = 1, **changes
) -> Case:
    """`n_batches` batches of random pictures through `training.fit`'s own epoch.

    Args:
        arch: option of `arch`.
        switch: "plain", "default", or switches of `KEYS` joined by +.
        batch: pictures a batch, channels, side.
        device: "cpu", or "cuda".
        n_batches: batches an epoch.
        changes: settings of the arch.
    """
    n, channels, side = batch
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n * n_batches, channels, side, side), dtype=np.uint8)
    labels = np.arange(n * n_batches) % min(100, n)
    chosen = set(switch.split("+"))
    trainer, fused = {}, "fused" in chosen
    if switch == "default":
        fused = ours.conf("optimizer", "sgd")["params"]["fused"]
    else:
        trainer = {"precision": "bf16" if "bf16" in chosen else "no",
                   "channels_last": "channels_last" in chosen,
                   "compile": "compile" in chosen}  # fmt: skip
    return ours.training_epoch(
        arch, images, labels, ours.random_sampler(len(labels), n),
        trainer | {"cpu": device == "cpu"}, fused, **changes,
    )  # fmt: skip


def main(setting: Setting) -> list[Entry]:
    """One entry per backbone."""
    entries = []
    backbones = dict(list(BACKBONES.items())[: setting.size(4, 1)])
    switches = setting.size(SWITCHES, SWITCHES[:6])
    for name, (changes, batch, n_batches) in backbones.items():
        arch = name.split()[0]
        batch, n_batches = setting.size((batch, n_batches), ((4, *batch[1:]), 1))
        entry = Entry(f"training {name}",
                      f"batches of {batch[0]} pictures {batch[1]}x{batch[2]}x{batch[2]}, "
                      "vMF softmax: data, augmentation, step, records of the loss")  # fmt: skip
        makers = {
            f"ours {s}": lambda s=s, a=arch, b=batch, e=n_batches, c=changes: train_step(
                a, s, b, setting.device, e, **c
            )
            for s in switches
        }
        units = dict.fromkeys(makers, float(batch[0] * n_batches))
        result = versus(entry, setting, makers, units=units)
        for who in makers:
            if result.seconds.get(who):
                entry.figures[who]["images_per_second"] = 1 / result.median(who)
                gain = result.ratio("ours plain", who)
                entry.figures[who]["gain_over_plain"] = gain.median if gain else None
        entry.ratios = {}
        entries.append(entry)
    entries[0].notes += [f"switch {name}: {keys}" for name, keys in KEYS.items()]
    return entries
