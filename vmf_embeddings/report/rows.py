"""Which rows of a file a report shows, their nearest neighbours, and which of them are right."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from vmf_embeddings.evaluation.figures.embedding_map import choose_rows
from vmf_embeddings.evaluation.similarities import as_shown
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.search import nearest
from vmf_embeddings.search.same_image import rows_of_same_image, same_image

N_NEIGHBOURS = 7


@dataclass(frozen=True)
class ShownRows:
    """Rows on the map of a run.

    Args:
        run: whose they are.
        numbers: int64 [n] their row numbers in the file, in random order.
        neighbours: int64 [n, K] row numbers of their nearest gallery rows, -1 for none.
        similarities: float64 [n, K], as shown: see `similarity_name`.
        similarity_name: what they are, in words.
    """

    run: ReportedRun
    numbers: np.ndarray
    neighbours: np.ndarray
    similarities: np.ndarray
    similarity_name: str

    @cached_property
    def hit(self) -> np.ndarray:
        """Bool [n], whether the nearest neighbour is of the row's class."""
        ids, first = self.run.evaluated.file.ids, self.neighbours[:, 0]
        return (first >= 0) & (ids[first] == ids[self.numbers])

    @cached_property
    def answerable(self) -> np.ndarray:
        """Bool [n], whether the row is a query with a class, of which a gallery row is another."""
        file, context = self.run.evaluated.file, self.run.context
        ids, gallery = file.ids, file.is_gallery
        in_gallery = np.ones(len(ids), bool) if gallery is None else gallery
        codes = self.run.codes
        counts = np.bincount(codes[in_gallery], minlength=len(self.run.classes))[codes]
        others = counts - in_gallery.astype(int)
        is_query = np.ones(len(ids), bool) if file.is_query is None else file.is_query
        return (is_query & context.kept & (others > 0))[self.numbers]


def shown_rows(run: ReportedRun, most: int) -> ShownRows:
    """At most `most` rows, drawn at random by the seed of the options, and their neighbours."""
    evaluated, options = run.evaluated, run.options.evaluation
    generator = torch.Generator().manual_seed(options.seed)
    numbers = choose_rows(run.codes, len(run.classes), generator, most)
    rows, file = run.context.rows, evaluated.file
    every = torch.arange(len(file.ids))
    chosen = torch.from_numpy(np.ascontiguousarray(numbers))
    gallery = every if file.is_gallery is None else every[torch.from_numpy(file.is_gallery)]
    images = same_image(file.paths)
    images = every if images is None else images
    what = f"Neighbours of {len(chosen):,} of {len(every):,} rows"
    with Progress(what, at_once=len(every) > LARGE_JOB):
        found, similarities = nearest(
            rows[chosen.to(rows.device)],
            rows[gallery.to(rows.device)],
            N_NEIGHBOURS,
            similarity=evaluated.geometry.similarity,
            metric=evaluated.geometry.faiss_metric,
            exclude=rows_of_same_image(images[chosen], images[gallery]).to(rows.device),
            backend=options.search,
        )
    found = found.cpu()
    places = torch.where(found >= 0, gallery[found.clamp_min(0)], -1).numpy()
    values, name = as_shown(evaluated.geometry, similarities.cpu().numpy())
    return ShownRows(run, numbers, places, np.where(places >= 0, values, np.nan), name)
