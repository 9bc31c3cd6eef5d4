"""What an objective of metric learning costs: its training steps beside those of proxy anchor."""

import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks import metric_learning
from benchmarks.measure import Case
from benchmarks.ours import CONF, forget_precision
from benchmarks.results import Entry, Setting, versus
from benchmarks.study import Row
from vmf_embeddings.cli import assembly
from vmf_embeddings.training import loop
from vmf_embeddings.training.fit import train_epoch
from vmf_embeddings.training.progress import EpochProgress

BATCH, PER_CLASS = 90, 2
ALONE = ((128, 100), (512, 100), (512, 11_318))  # dimensions and classes: CUB200, and SOP


def main(setting: Setting) -> list[Entry]:
    """One entry for an epoch, one per size for the objective alone."""
    rows = [row for row in metric_learning.ROWS if row.columns is None]  # each run once
    rows = setting.size(rows, rows[:2])
    workload = f"an epoch of digits_open, the small net, batches of {BATCH}: data to update"
    entry = Entry("objectives epoch", workload)
    makers = {f"ours {row.title}": lambda r=row: epoch_of(r, setting.device) for row in rows}
    entries = [beside_the_first(entry, setting, makers)]
    for dim, n_classes in setting.size(ALONE, [(8, 7)]):
        name = f"objectives alone D={dim} C={n_classes}"
        workload = f"{BATCH} unit embeddings, {PER_CLASS} a class: loss and gradients, with miner"
        makers = {
            f"ours {row.title}": lambda r=row, d=dim, c=n_classes: objective_alone(
                r, d, c, setting.device
            )
            for row in rows
        }
        entry = Entry(name, workload)
        entries.append(beside_the_first(entry, setting, makers))
    return entries


def beside_the_first(entry: Entry, setting: Setting, makers: dict) -> Entry:
    """Times the cases and notes how many times as long as the first one they take."""
    result = versus(entry, setting, makers)
    first = next(iter(makers))
    for who in makers:
        cost = result.ratio(who, first)
        if cost is not None:
            entry.figures[who][f"over {first.removeprefix('ours ')}"] = cost.median
    entry.ratios = {}
    return entry


def composed(row: Row, device: str, *words: str) -> DictConfig:
    """The configuration of the row's command."""
    own = [f"trainer.cpu={device == 'cpu'}", "trainer.threads=1", "resume=never"]
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["experiment=digits_open", *row.words, *own, *words])


def epoch_of(row: Row, device: str) -> Case:
    """An epoch of the row's command, by the project's own loop."""
    with tempfile.TemporaryDirectory() as folder:
        job = assembly.training_job(composed(row, device), Path(folder))
    forget_precision()
    parts = loop.assemble(job)
    quiet = EpochProgress(0, 1, len(parts.batches), notes=[], enabled=False)
    return lambda: train_epoch(parts, 0, quiet)


def objective_alone(row: Row, dim: int, n_classes: int, device: str) -> Case:
    """The row's loss of random unit embeddings, and its gradients, the embeddings' included."""
    words = [f"arch.params.embedding_dim={dim}", f"arch.params.n_classes={n_classes}"]
    torch.manual_seed(0)
    method = assembly.method(composed(row, device, *words), None, pretrained=False).to(device)
    classes = torch.randperm(n_classes)[: BATCH // PER_CLASS]
    labels = classes.repeat_interleave(PER_CLASS).to(device)
    rows = torch.nn.functional.normalize(torch.randn(len(labels), dim, device=device))

    def step() -> None:
        method.zero_grad()
        method.loss(rows.clone().requires_grad_(), labels).backward()

    return step
