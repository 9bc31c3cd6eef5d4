"""The command `embed`: a trained run's embeddings of new images, written to one file."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.cli.embed_arguments import ROWS_ALONE, EmbedOptions
from vmf_embeddings.cli.embed_inputs import image_paths, vectors
from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.embeddings import EmbeddingFile, write
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.trained import Run, load
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

SECONDS_BETWEEN_LINES = 5.0
MOST_BROKEN = 20  # images that are named before a command without --skip-broken gives up


def embed(options: EmbedOptions) -> int:
    """Embeds and writes.

    Returns:
        Exit code: 0; 1 for a failure, 2 where arguments, run or images cannot be used, 130 where it
        was interrupted. In all but the first case nothing was written.
    """
    return exit_code("embed", lambda: _embed(options), smaller="give a smaller --batch-size")


def _embed(options: EmbedOptions) -> None:
    refuse_output(options.out, options.run, force=options.force)
    run = load(options.run, device=options.device)
    if options.predict and run.n_classes is None:
        raise Refused(
            f"--predict: this run ({run.module.name}) predicts no classes; leave it out, and "
            "search for the nearest known images"
        )
    length = run.module.arch.in_features
    if length is not None:
        given = vectors(options.inputs, length)
        job = EmbeddingJob(run, options, len(given.rows), _rows_of(given.rows), "vectors")
        paths = given.paths
    else:
        files = image_paths(options.inputs, options.images_from)
        job = EmbeddingJob(run, options, len(files), files, "images")
        paths = np.array(files)
    file = job.file(paths)
    with Progress(f"Writing {options.out.name}", quiet=options.quiet):
        write(file, options.out)
    if not options.quiet:
        with reader_may_leave():
            print(job.summary(file))


def _rows_of(rows: np.ndarray) -> Iterator[Tensor]:
    """Input vectors one by one; a file that is mapped into memory is never read as a whole."""
    return (torch.from_numpy(np.array(row, dtype=np.float32)) for row in rows)


class EmbeddingJob:
    """Embeds everything, and keeps what was broken.

    Args:
        run: trained.
        options: of the command.
        n_items: N.
        items: images by their paths, or vectors.
        unit: what items are called.
    """

    def __init__(
        self, run: Run, options: EmbedOptions, n_items: int, items: Any, unit: str
    ) -> None:
        self.run, self.options, self.unit = run, options, unit
        self.n_items, self.items = n_items, items
        self.broken: list[str] = []

    def file(self, paths: np.ndarray | None) -> EmbeddingFile:
        """The file to write; images that were left out have no row.

        Args:
            paths: [N] names of the items, or None.

        Raises:
            Refused: images are broken, or an embedding is not finite; names them.
        """
        options, run = self.options, self.run
        rows = np.empty((self.n_items, run.embedding_dim), dtype=np.float32)
        kept = np.empty(self.n_items, dtype=np.int64)
        classes = np.empty(self.n_items if options.predict else 0, dtype=np.int32)
        probability = np.empty(len(classes), dtype=np.float32)
        n_done = 0
        batches = run.embed_batches(
            self.items,
            batch_size=options.batch_size,
            readers=options.num_workers,
            on_broken=self._note_broken,
        )
        with self._progress() as progress:
            for numbers, embeddings in batches:
                if self.broken and not options.skip_broken:
                    break
                part = slice(n_done, n_done + len(numbers))
                rows[part], kept[part] = embeddings.cpu().numpy(), numbers
                if options.predict:
                    best = run.probabilities(embeddings).max(-1)
                    probability[part] = best.values.cpu().numpy()
                    classes[part] = best.indices.cpu().numpy()
                n_done += len(numbers)
                progress(n_done + len(self.broken))
        self._refuse_broken()
        rows, kept = rows[:n_done], kept[:n_done]
        names = None if paths is None else paths[kept]
        _refuse_not_finite(rows, kept, names)
        if options.out.suffix.lower() in ROWS_ALONE:
            return EmbeddingFile(
                rows, paths=names if options.out.suffix.lower() == ".csv" else None
            )
        return EmbeddingFile(
            rows,
            paths=names,
            confidence=run.confidence(rows),
            predicted=self._names(classes[:n_done]) if options.predict else None,
            probability=probability[:n_done] if options.predict else None,
            meta=run.description(),
        )

    def summary(self, file: EmbeddingFile) -> str:
        """What was done, in one line."""
        n_rows, dim = file.embeddings.shape
        left_out = f"; {len(self.broken)} left out" if self.broken else ""
        return (
            f"Wrote embeddings [{n_rows}, {dim}] of {n_rows:,} {self.unit} to "
            f"{printable(self.options.out)} ({self.rate:,.0f} {self.unit}/s{left_out})"
        )

    def _progress(self) -> Progress:
        self.progress = Progress(
            f"Embedding {self.n_items:,} {self.unit}",
            self.n_items,
            quiet=self.options.quiet,
            at_once=self.n_items > LARGE_JOB,
            unit=self.unit,
            seconds_between_lines=SECONDS_BETWEEN_LINES,
        )
        return self.progress

    @property
    def rate(self) -> float:
        """Items per second, of the whole pass."""
        return self.progress.done / max(self.progress.seconds, 1e-9)

    def _note_broken(self, number: int, error: Exception) -> None:
        self.broken.append(str(error) if isinstance(error, ValueError) else _of_os(error))
        if not self.options.skip_broken and len(self.broken) >= MOST_BROKEN:
            self._refuse_broken()

    def _refuse_broken(self) -> None:
        """Names what is broken; refuses it unless it may be left out, or is everything."""
        if not self.broken:
            return
        for line in self.broken:
            print(f"embed: {'left out: ' * self.options.skip_broken}{printable(line)}",
                  file=sys.stderr)  # fmt: skip
        count = f"{len(self.broken)} of {self.n_items:,} {self.unit}"
        if not self.options.skip_broken:
            raise Refused(
                f"{count} cannot be read, those above (more may follow), and nothing was written. "
                "Mend them, or leave them out with --skip-broken"
            )
        if len(self.broken) == self.n_items:
            raise Refused(f"{count} cannot be read: nothing was written")
        print(f"embed: {count} left out", file=sys.stderr)

    def _names(self, classes: np.ndarray) -> np.ndarray:
        """Names of the classes [N], their numbers where they have none."""
        known = self.run.class_names
        if known is None:
            return classes
        n_classes = self.run.n_classes or 0
        names = [*map(printable, known), *map(str, range(len(known), n_classes))]
        return np.array(names)[classes]


def _of_os(error: Exception) -> str:
    """An error of the operating system without its number, with the file's name."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _refuse_not_finite(rows: np.ndarray, kept: np.ndarray, names: np.ndarray | None) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(wrong):
        first = int(kept[wrong[0]]) if names is None else printable(names[wrong[0]])
        raise Refused(
            f"the embeddings of {len(wrong)} inputs hold NaN or infinity, the first of {first}: "
            "has the training diverged?"
        )
