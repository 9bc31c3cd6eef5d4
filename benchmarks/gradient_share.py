"""The tables of docs/nir.md: how much of the gradient on the embeddings is the flow's, over time.

python -m benchmarks.gradient_share synthetic
python -m benchmarks.gradient_share digits --data FOLDER_OF_MNIST

Synthetic: means of classes plus noise through one linear layer, at the published learning rates.
Digits: images of 0 to 4 through the small net; the other five digits are what Recall@1 is of.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec
from vmf_embeddings.archs.n_digit_mnist import NDigitMnist
from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor
from vmf_embeddings.datasets.mnist import MNIST
from vmf_embeddings.methods.nir import NIR
from vmf_embeddings.methods.parameter_groups import take_rate
from vmf_embeddings.search import nearest

BATCH, PER_CLASS = 90, 2
DECAY = 4e-4


@dataclass(frozen=True)
class Row:
    """One line of a table: what differs from the published settings."""

    title: str
    knobs: dict = field(default_factory=dict)


CONTROL = Row("control", {"w_flow": 0.0})
ROWS = (
    Row("exp", {}),
    Row("nll", {"flow_objective": "nll"}),
    Row("nll_per_dim", {"flow_objective": "nll_per_dim"}),
)
GENTLE = Row("exp, w_align 0.3, flow ×1", {"w_align": 0.3, "flow_lr_factor": 1})
MILD = Row("nll_per_dim, w_align 1", {"flow_objective": "nll_per_dim", "w_align": 1.0})
PLAIN = Row("proxy anchor", {"w_flow": 0.0, "w_align": 1.0, "proxy_lr_factor": 2000})


class OneLayer(Arch):
    """Vectors [B, F] -> unit embeddings [B, D]."""

    def __init__(self, n_features: int, dim: int, n_classes: int) -> None:
        super().__init__(ClassSpec(n_classes, dim), normalize=True)
        self.projection = nn.Linear(n_features, dim)

    def features(self, images: Tensor) -> Tensor:
        return images


def nir(arch: Arch, row: Row, unit: float = 1.0) -> NIR:
    """With the published knobs but the row's; rates are `unit` times as large over the run's."""
    knobs = {
        "flow_objective": "exp", "w_flow": 1.0, "w_align": 0.01, "noise": 0.0, "logmatch": 1.0,
        "pair_perc": 1.0, "proxy_lr_factor": 4000, "flow_lr_factor": 50, "flow": {},
    } | row.knobs  # fmt: skip
    for key in ("proxy_lr_factor", "flow_lr_factor"):
        knobs[key] *= unit
    criterion = ProxyAnchor(32, 32, 0.1, -0.1, average="samples", lr_factor=2000)
    return NIR(arch, criterion, None, **knobs)


def train(method: NIR, batches: Iterator, rate: float, at: set[int]) -> dict[int, dict]:
    """Steps of Adam; the status of the steps in `at`, counted from 0."""
    groups = method.param_groups(0.0, "all")
    for group in groups:
        group["lr"] = take_rate(group, rate)
    optimizer = torch.optim.Adam(groups, lr=rate, weight_decay=DECAY)
    seen = {}
    for step, (examples, labels) in zip(range(max(at) + 1), batches, strict=False):
        method.begin_epoch(step)
        loss = method({"examples": examples, "ids": labels})
        optimizer.zero_grad()
        loss.backward()
        if step in at:
            seen[step] = method.status()
        optimizer.step()
    return seen


def draws(groups: list[Tensor], draw: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and labels: classes uniformly with replacement, two rows of each, with replacement."""
    while True:
        classes = torch.randint(len(groups), (BATCH // PER_CLASS,), generator=draw)
        rows = [
            groups[c][torch.randint(len(groups[c]), (PER_CLASS,), generator=draw)] for c in classes
        ]
        yield torch.cat(rows), classes.repeat_interleave(PER_CLASS)


def blobs(
    seed: int, draw: torch.Generator, n_classes: int = 100, n_features: int = 512
) -> Iterator:
    """Means of classes plus noise, all of one scale."""
    means = torch.randn(n_classes, n_features, generator=draw)
    while True:
        classes = torch.randint(n_classes, (BATCH // PER_CLASS,), generator=draw)
        labels = classes.repeat_interleave(PER_CLASS)
        yield means[labels] + torch.randn(BATCH, n_features, generator=draw), labels


def synthetic(seeds: range, at: list[int]) -> None:
    for dim in (128, 512):
        print(f"\nD = {dim}\n\n{header(at)}")
        for row in (*ROWS, GENTLE) if dim == 128 else ROWS:
            runs = []
            for seed in seeds:
                torch.manual_seed(seed)
                method = nir(OneLayer(512, dim, 100), row)
                draw = torch.Generator().manual_seed(seed)
                runs.append(train(method, blobs(seed, draw), 1e-5, set(at)))
            print(line(row.title, runs, at), flush=True)


def digits(folder: Path, seeds: range, at: list[int], dim: int = 128) -> None:
    """Rates of the backbone are a hundred times those published, which are for pretrained nets."""
    data = MNIST(folder, download=False, margin_warmup_epochs=0)
    seen, unseen = (
        by_class(data, split, which)
        for split, which in (("train", range(5)), ("test", range(5, 10)))
    )
    print(f"\n{header(at, 'Recall@1')}")
    for row in (PLAIN, CONTROL, *ROWS, MILD):
        runs, recalls = [], []
        for seed in seeds:
            torch.manual_seed(seed)
            arch = NDigitMnist(1, dim, 5, False, False, 0.0, 0.4, normalize=True)
            method = nir(arch, row, unit=0.01)
            runs.append(
                train(method, draws(seen, torch.Generator().manual_seed(seed)), 1e-3, set(at))
            )
            recalls.append(recall_at_1(method, unseen))
        print(
            line(row.title, runs, at),
            " / ".join(f"{100 * r:.1f}" for r in recalls),
            "|",
            flush=True,
        )


def by_class(data: MNIST, split: str, classes: range) -> list[Tensor]:
    part = data.split(split)
    images = part.batch(torch.arange(len(part)))["examples"]
    return [images[part.labels == c] for c in classes]


@torch.no_grad()
def recall_at_1(method: NIR, groups: list[Tensor]) -> float:
    method.eval()
    labels = torch.cat([torch.full((len(g),), c) for c, g in enumerate(groups)])
    rows = method.embed(torch.cat(groups))
    geometry = method.geometry
    found, _ = nearest(
        rows, rows, 1, similarity=geometry.similarity, metric=geometry.faiss_metric,
        exclude=torch.arange(len(rows)), backend="torch",
    )  # fmt: skip
    return (labels[found[:, 0]] == labels).double().mean().item()


def header(at: list[int], *more: str) -> str:
    cells = [*(f"step {step}" for step in at), *more]
    return f"| objective | {' | '.join(cells)} |\n|---{'|---' * len(cells)}|"


def line(title: str, runs: list[dict], at: list[int]) -> str:
    """Of every step the means over seeds: the share, and in brackets NLL and proxy term."""
    cells = []
    for step in at:
        keys = runs[0][step]
        mean = {key: sum(run[step][key] for run in runs) / len(runs) for key in keys}
        share = f"{mean['flow_gradient_share']:.1e}" if "flow_gradient_share" in mean else "0"
        nll = f"{mean['flow_nll']:.0f}" if "flow_nll" in mean else "–"
        cells.append(f"{share} ({nll}; {mean['proxy_loss']:.1f})")
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", choices=("synthetic", "digits"))
    parser.add_argument("--data", type=Path, help="folder of MNIST, as dataset.params.dataset_path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at", type=int, nargs="+", default=[0, 10, 20, 65, 130, 400])
    given = parser.parse_args()
    if given.scene == "synthetic":
        synthetic(range(given.seeds), given.at)
    else:
        digits(given.data, range(given.seeds), given.at)
