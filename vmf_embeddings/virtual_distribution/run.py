"""Computes the virtual-example distribution of a run; writes a table, numbers and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vmf_embeddings.datasets.base import Dataset
from vmf_embeddings.evaluation.figures.style import save, styled
from vmf_embeddings.evaluation.report import print_line, print_written
from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics import Thresholds
from vmf_embeddings.training.embed import local_batches
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.seeding import seed_everything
from vmf_embeddings.virtual_distribution.distribution import Groups, Series, Softening, measure
from vmf_embeddings.virtual_distribution.figure import draw
from vmf_embeddings.virtual_distribution.report import table, write_numbers, write_table
from vmf_embeddings.virtual_distribution.suggestion import suggest

UNSOFTENED = Softening(1.0)  # used to compare runs


@dataclass(frozen=True)
class VirtualDistributionJob:
    """What `virtual_distribution` needs.

    Attributes:
        runs: trained methods by their folders, the run itself first; the others are compared with
            it at temperature 1, in `virtual_examples_runs.png`.
        dataset: its training images are classified, without augmentation.
        wanted: how to soften the run's predictions.
        thresholds: bounds of the groups of classes, in training images per class.
        run_dir: folder to write to.
        seed: >= 0, for predictions that use random samples.
        batch_size: images per batch.
        num_workers: worker processes that load image files, >= 0.
        execution: device, precision, threads.
    """

    runs: dict[str, Method]
    dataset: Dataset
    wanted: Sequence[Softening]
    thresholds: Thresholds
    run_dir: Path
    seed: int
    batch_size: int
    num_workers: int
    execution: ExecutionSettings


def virtual_distribution(job: VirtualDistributionJob) -> None:
    """Writes `virtual_examples.json`, `.csv` and `.png` into the run's folder; prints a table."""
    dataset, run_dir, wanted = job.dataset, job.run_dir, job.wanted
    accelerator = job.execution.make_accelerator()
    split = dataset.split("train")
    sizes = {"batch_size": job.batch_size, "num_workers": job.num_workers}
    batches = local_batches(split, accelerator, **sizes)

    def counts_of(method: Method, softenings: Sequence[Softening]) -> dict[Softening, Tensor]:
        method.to(accelerator.device).eval()
        job.execution.configure_backbone(method.arch)
        seed_everything(job.seed)  # so that a run's samples do not depend on the other runs
        return measure(method, batches, accelerator, softenings, job.batch_size)

    (_, own), *others = job.runs.items()
    measured = counts_of(own, list(dict.fromkeys([*wanted, UNSOFTENED])))
    compared = [
        Series(_short(name), counts_of(method, [UNSOFTENED])[UNSOFTENED]) for name, method in others
    ]
    if not accelerator.is_main_process:
        return
    groups = Groups(split.class_counts.cpu(), job.thresholds)
    kept = {each: measured[each] for each in wanted}
    suggestion = suggest(groups, kept)
    series = [Series(str(each), counts) for each, counts in kept.items()]
    print_line(
        f"Virtual examples of {run_dir} on the {len(split)} training images of {dataset.name}"
    )
    for line in table(groups, [*series, *compared]):
        print_line(line)
    print_line(suggestion.words)
    about = {"run": str(run_dir), "dataset": dataset.name, "train_identity": split.identity}
    path = run_dir / "virtual_examples.json"
    written = [
        write_numbers(path, about, groups, kept, suggestion, compared),
        write_table(path.with_suffix(".csv"), groups, series, split.class_names),
        _draw(path.with_suffix(".png"), f"{dataset.name}, {run_dir.name}", groups, series, True),
    ]
    if compared:
        runs = [Series(_short(run_dir), measured[UNSOFTENED]), *compared]
        figure = path.with_name("virtual_examples_runs.png")
        written.append(_draw(figure, f"{dataset.name}, tau=1", groups, runs, False))
    print_written(written)


def _short(run: Path | str) -> str:
    """The last three parts of a run folder's path: method, dimension and name."""
    return "/".join(Path(run).resolve().parts[-3:])


def _draw(path: Path, title: str, groups: Groups, series: Sequence[Series], ordered: bool) -> Path:
    with styled():
        return save(draw(title, groups, series, ordered=ordered), path)
