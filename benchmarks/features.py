"""Heads on feature vectors: an epoch of the project's loop beside a plain loop (F1, F2)."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.nn import functional

from benchmarks.measure import Case
from benchmarks.ours import CONF, forget_precision
from benchmarks.results import Entry, Setting, versus
from vmf_embeddings.cli import assembly
from vmf_embeddings.training import loop
from vmf_embeddings.training.fit import train_epoch
from vmf_embeddings.training.progress import EpochProgress

DIM, RATE, BATCH = 128, 1e-3, 256
ROWS = BATCH * 10 // 2  # ten samples per image, in mirrored pairs
METHODS = {
    "softmax": ["method=unnormalized_sce"],
    "cosine": ["method=normalized_sce", "arch.params.learn_temp=true"],
    "vMF": ["method=vmf_softmax", "arch.params.learn_temp=true"],
}


def main(setting: Setting) -> list[Entry]:
    """Softmax and cosine beside a plain loop, vMF beside its own matrix products."""
    n, width, n_classes = setting.size((100_000, 768, 1000), (600, 8, 5))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n)
    vectors = rng.normal(size=(n, width)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        split = np.array(
            ["train"] * (n - 2 * n_classes) + ["valid"] * n_classes + ["test"] * n_classes
        )
        labels[-2 * n_classes :] = np.tile(np.arange(n_classes), 2)
        labels[:n_classes] = np.arange(n_classes)
        np.savez(path, embeddings=vectors, labels=labels, split=split)
        n_train = n - 2 * n_classes
        workload = (
            f"an epoch of {n_train:,} vectors x {width}, batches of {BATCH}, a linear layer to "
            f"{DIM} dimensions, {n_classes} classes, AdamW: drawing, gathering, step, records"
        )
        entries = []
        for name, key in (("softmax", "F1 softmax"), ("cosine", "F1 cosine")):
            entry = Entry(f"features {name}", workload)
            makers = {
                f"ours {name}": lambda m=name: epoch_of(path, m, setting.device),
                "a plain loop": lambda m=name: plain_epoch(
                    vectors[:n_train],
                    labels[:n_train],
                    n_classes,
                    setting.device,
                    cosine=m == "cosine",
                ),
            }
            units = dict.fromkeys(makers, float(n_train))
            result = versus(entry, setting, makers, units=units)
            ratio = result.ratio("a plain loop", f"ours {name}")
            entry.check(setting, key, ratio, "a case failed")
            entries.append(entry)
        entries.append(of_vmf(setting, path, workload, n_train, n_classes))
    return entries


def of_vmf(setting: Setting, path: Path, workload: str, n_train: int, n_classes: int) -> Entry:
    """An epoch of vMF beside the matrix products that it cannot do without."""
    entry = Entry("features vMF", workload)
    entry.notes.append(
        f"products: logits of {ROWS} directions a batch (samples are mirrored pairs), and the two "
        "gradients; the linear layer, the optimizer and the gathering are left out of them"
    )
    makers = {
        "ours vMF": lambda: epoch_of(path, "vMF", setting.device),
        "its three products": lambda: products(n_train // BATCH, n_classes, setting.device),
    }
    result = versus(entry, setting, makers)
    ratio = result.ratio("ours vMF", "its three products")
    entry.check(setting, "F2 vMF", ratio, "a case failed")
    return entry


def epoch_of(path: Path, name: str, device: str) -> Case:
    """An epoch of the command on a feature file, by the project's own loop."""
    words = [
        "dataset=features", f"dataset.params.dataset_path={path}", "arch=linear",
        f"arch.params.embedding_dim={DIM}", "sampler=random", f"sampler.batch_size={BATCH}",
        "optimizer=adamw", f"mode.learning_rate={RATE}", "schedule=constant", "resume=never",
        f"trainer.cpu={device == 'cpu'}", f"trainer.threads={torch.get_num_threads()}",
        *METHODS[name],
    ]  # fmt: skip
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", words)
    with tempfile.TemporaryDirectory() as folder:
        job = assembly.training_job(cfg, Path(folder))
    forget_precision()
    parts = loop.assemble(job)
    quiet = EpochProgress(0, 1, len(parts.batches), notes=[], enabled=False)
    return lambda: train_epoch(parts, 0, quiet)


def plain_epoch(
    vectors: np.ndarray, labels: np.ndarray, n_classes: int, device: str, *, cosine: bool
) -> Case:
    """The same model, optimizer and batches in the fewest lines of torch."""
    torch.manual_seed(0)
    x, y = torch.from_numpy(vectors).to(device), torch.from_numpy(labels).to(device)
    layer = nn.Linear(x.shape[1], DIM, device=device)
    weights = nn.Parameter(torch.randn(n_classes, DIM, device=device) / DIM**0.5)
    bias = nn.Parameter(torch.zeros(n_classes, device=device))
    temperature = nn.Parameter(torch.zeros((), device=device))
    learned = [weights, temperature] if cosine else [weights, bias]
    optimizer = torch.optim.AdamW([*layer.parameters(), *learned], lr=RATE, fused=True)

    def epoch() -> float:
        order, total = torch.randperm(len(x), device=device), torch.zeros((), device=device)
        for rows in order[: len(x) // BATCH * BATCH].split(BATCH):
            z = layer(x.index_select(0, rows))
            if cosine:
                unit = functional.normalize(z, dim=1), functional.normalize(weights, dim=1)
                logits = unit[0] @ unit[1].T * torch.exp(-temperature)
            else:
                logits = functional.linear(z, weights, bias)
            loss = functional.cross_entropy(logits, y.index_select(0, rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        return float(total)

    return epoch


def products(n_steps: int, n_classes: int, device: str) -> Case:
    """The logits of the samples of every batch of an epoch, and their two gradients."""
    torch.manual_seed(0)
    samples = torch.randn(ROWS, DIM, device=device)
    weights = torch.randn(n_classes, DIM, device=device)
    slope = torch.randn(ROWS, n_classes, device=device)

    def epoch() -> None:
        for _ in range(n_steps):
            samples @ weights.T
            slope @ weights
            slope.T @ samples

    return epoch
