"""Embeddings of image files by a trained run, beside a bare `DataLoader` and its network (F3)."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import vmf_embeddings as vmf
from benchmarks.measure import Case
from benchmarks.ours import forget_precision
from benchmarks.results import Entry, Setting, versus
from vmf_embeddings.cli import commands
from vmf_embeddings.trained import Run

BATCH = 64
WORKERS = min(8, os.cpu_count() or 1)  # as many as `Run.embed` starts threads


def main(setting: Setting) -> list[Entry]:
    """Images per second of `Run.embed`, of the command `embed`, and of the bare loop."""
    n, side, arch = setting.size((600, 128, "resnet18"), (24, 32, "resnet32"))
    device = "cpu" if setting.device == "cpu" else "cuda"
    entry = Entry(
        "extraction",
        f"{n} JPEG files of {side} x {side} pixels, {arch}, batches of {BATCH}, {WORKERS} readers: "
        "decoding, normalising, network",
    )
    with tempfile.TemporaryDirectory() as place:
        images, out = images_in(Path(place) / "images", n, side), Path(place) / "out.npz"
        run = vmf.load(untrained(images, arch, side, Path(place) / "run"), device=device)
        paths = sorted(images.rglob("*.jpg"))
        makers = {
            "ours Run.embed": lambda: lambda: run.embed(paths, batch_size=BATCH, progress=False),
            "ours the command embed": lambda: command(run, images, out, device),
            "a bare DataLoader": lambda: bare(run, paths, device),
        }
        result = versus(entry, setting, makers, units=dict.fromkeys(makers, float(n)))
    for name in makers:
        if result.seconds.get(name):
            entry.figures[name]["images_per_second"] = 1 / result.median(name)
    entry.notes.append(
        "the bare loop reads with as many worker processes as there are threads in `Run.embed`, "
        "and uses the run's own network and transform; the command also loads the run and writes "
        "the file"
    )
    for key, name in (("F3 embed", "ours Run.embed"), ("F3 command", "ours the command embed")):
        entry.check(setting, key, result.ratio("a bare DataLoader", name), "a case failed")
    return [entry]


def images_in(folder: Path, n: int, side: int, n_classes: int = 4) -> Path:
    """JPEG files of smooth random images, `folder`/<class>/<number>.jpg."""
    rng = np.random.default_rng(0)
    for number in range(n):
        path = folder / str(number % n_classes) / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def untrained(images: Path, arch: str, side: int, folder: Path) -> Path:
    """The folder of a run on these images, of no epochs: its network has its initial weights."""
    forget_precision()
    vmf.train([
        "dataset=folder", f"dataset.params.dataset_path={images}",
        f"dataset.params.image_size={side}", f"arch={arch}", "method=normalized_sce",
        "mode.epochs=0", "num_workers=0", "trainer.cpu=true", "trainer.threads=1",
        "resume=never", f"hydra.run.dir={folder}",
    ])  # fmt: skip
    forget_precision()
    return folder


def command(run: Run, images: Path, out: Path, device: str) -> Case:
    """The command in this process: it loads the run, embeds the folder and writes the file."""
    words = [str(run.folder), str(images), "-o", str(out), "--force", "--quiet"]
    words += ["--batch-size", str(BATCH), "--device", device]

    def embed() -> None:
        if commands.embed(words):
            raise RuntimeError("the command embed failed")

    return embed


class _Files(Dataset):
    """What one writes without this project: open, decode, transform."""

    def __init__(self, run: Run, paths: list[Path]) -> None:
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - before torchvision
        from torchvision.datasets.folder import default_loader

        self.transform, self.paths, self.load = run.transform, paths, default_loader

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.load(str(self.paths[index])))


def bare(run: Run, paths: list[Path], device: str) -> Case:
    """The network over a `DataLoader`, rows gathered in memory."""
    loader = DataLoader(_Files(run, paths), BATCH, num_workers=WORKERS)

    def embed() -> np.ndarray:
        with torch.no_grad():
            rows = [run.module.embed(inputs.to(device)).float().cpu() for inputs in loader]
        return torch.cat(rows).numpy()

    return embed
