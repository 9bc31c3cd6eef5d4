"""Batches of pictures (P2) and an epoch on MNIST-like pictures from end to end (P3)."""

from collections import deque

import numpy as np
import torch

from benchmarks import ours, reference_2021, reference_2021_data, reference_2021_net
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, versus


def pictures(n: int, colour: bool) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 pictures of MNIST's or CIFAR's size in ten classes."""
    rng = np.random.default_rng(0)
    shape = (n, 32, 32, 3) if colour else (n, 28, 28)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.permutation(np.arange(n) % 10)


def indices(labels: np.ndarray, n_episodes: int, n_samples: int) -> list[torch.Tensor]:
    """Episodes of ten classes."""
    return list(ours.episodic_sampler(torch.from_numpy(labels), n_episodes, 10, n_samples))


def read(who: str, n: int, n_episodes: int, colour: bool) -> Case:
    """All batches of an epoch; "2021, W workers" or "ours"."""
    images, labels = pictures(n, colour)
    batches = indices(labels, n_episodes, 26 if colour else 13)
    if who == "ours":
        split = ours.array_split(images, labels, colour=colour)
        return lambda: deque((split.batch(i) for i in batches), maxlen=0)
    transforms = (reference_2021_data.to_tensor, reference_2021_data.crop_flip_occlude)
    source = reference_2021_data.Pictures(images, labels, transforms[colour])
    workers, plain = int(who.split()[1]), [i.tolist() for i in batches]
    return lambda: deque(reference_2021_data.loader(source, plain, workers), maxlen=0)


def reading(setting: Setting) -> list[Entry]:
    """Data only: pictures per second of both, the better of 0 and 4 workers as the peer."""
    entries = []
    for name, colour, real in (("MNIST", False, (50_000, 250)), ("CIFAR", True, (42_500, 20))):
        n, n_episodes = setting.size(real, (600, 2))
        workers = setting.size((0, 4), (0,))
        entry = Entry(f"reading {name}", f"{n} pictures, {n_episodes} episodes of ten classes")
        names = [f"2021, {w} workers" for w in workers] + ["ours"]
        makers = {
            who: lambda who=who, n=n, e=n_episodes, c=colour: read(who, n, e, c) for who in names
        }
        images = n_episodes * 10 * (26 if colour else 13)
        result = versus(entry, setting, makers, units=dict.fromkeys(names, images))
        for who in names:
            if result.seconds.get(who):
                entry.figures[who]["images_per_second"] = 1 / result.median(who)
        best = min((w for w in names[:-1] if result.seconds.get(w)), key=result.median)
        entry.check(setting, f"P2 {name}", result.ratio(best, "ours"))
        entries.append(entry)
    return entries


def epoch(who: str, n: int, n_episodes: int, device: str = "cpu") -> Case:
    """Training on MNIST-like pictures: 2021's loop, or ours as it ships or with switches."""
    images, labels = pictures(n, False)
    if who != "2021":
        trainer = {"cpu": device == "cpu"} | {key: True for key in who.split()[1:]}
        sampler = ours.episodic_sampler(torch.from_numpy(labels), n_episodes, 10, 13)
        fused = ours.conf("optimizer", "sgd")["params"]["fused"]
        return ours.training_epoch(
            "n_digit_mnist", images[:, None], labels, sampler, trainer, fused, embedding_dim=3
        )
    batches = [i.tolist() for i in indices(labels, n_episodes, 13)]
    torch.manual_seed(0)
    net = reference_2021_net.digits_net().to(device)
    weights = torch.randn(10, 3).to(device).requires_grad_()
    tau = torch.zeros((), device=device, requires_grad=True)
    source = reference_2021_data.Pictures(images, labels)
    optimizer = torch.optim.SGD(
        [*net.parameters(), weights, tau], lr=1e-4, momentum=0.9, nesterov=True
    )

    def run() -> None:
        for batch in reference_2021_data.loader(source, batches, 0):
            optimizer.zero_grad()
            examples, ids = (batch[k].to(device) for k in ("examples", "ids"))
            reference_2021.vmf_step_loss(net(examples), weights, ids, tau, 10).backward()
            optimizer.step()

    return run


def training(setting: Setting) -> Entry:
    """P3: held against what ships; what the switches bring stands beside it."""
    n, n_episodes = setting.size((50_000, 250), (600, 2))
    entry = Entry("MNIST epoch", f"{n_episodes} episodes of 130 pictures, vMF softmax, S=10")
    names = ["2021", "ours", *setting.size(("ours compile",), ())]
    makers = {w: lambda w=w: epoch(w, n, n_episodes, setting.device) for w in names}
    units = dict.fromkeys(makers, n_episodes * 130)
    result = versus(entry, setting, makers, units=units)
    for who in makers:
        if result.seconds.get(who):
            entry.figures[who]["images_per_second"] = 1 / result.median(who)
    entry.check(setting, "P3", result.ratio("2021", "ours"))
    return entry


def main(setting: Setting) -> list[Entry]:
    """Everything of this family."""
    return [*reading(setting), training(setting)]
