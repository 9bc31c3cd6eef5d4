"""The options of an evaluation; imports nothing slow, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from vmf_embeddings.embeddings import EmbeddingFile
    from vmf_embeddings.evaluation.companions import Given
    from vmf_embeddings.metrics import Thresholds

GEOMETRIES = (
    "cosine", "euclidean", "poincare", "poincare-reference", "vmf", "expected_likelihood",
)  # fmt: skip
# groups of scores besides the default ones; `metrics.embedding_scores` computes them
METRICS = ("recall", "nmi", "map", "spectrum", "spread")
# further words of `metrics=`, each a section of its own: modules of `evaluation.sections`
SECTIONS = (
    "uncertainty",
    "corruption",
    "verification",
    "ood",
    "calibration",
    "prior",
    "ranking",
    "clusters",
    "merged",
)
# what rows of one class may share so that they are not compared
EXCLUDED = ("camera", "sequence")
# number formats of embeddings, as in `search.quantisation`
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
# ways to rank neighbours once more; `evaluation.reranked` computes their scores
RERANKINGS = ("k_reciprocal", "alpha_qe", "dba")
# approximate indexes and the lowest recall that one may have, as in `search.approximate` and
# `search.index_recall`
INDEXES = ("ivf", "ivfpq", "hnsw")
LOWEST_RECALL = 0.95


@dataclass(frozen=True)
class EvaluationOptions:
    """What to score, how, and what to write.

    Args:
        paths: run folders, sweep folders or embedding files.
        split: "test", "valid" or "train": which files are looked for in folders.
        geometry: one of GEOMETRIES, or None to take it from the file.
        embeddings: key or columns of the embeddings in files of other programs; None = a usual one.
        labels: key or column of their labels, or the file of the labels of an `.npy`; None = a
            usual one.
        curvature: c > 0 of the Poincare ball, or None to take it from the file or the training log.
        metrics: names from METRICS to compute besides the default scores, on the embeddings as
            output and L2-normalised.
        sections: names from SECTIONS to compute besides them.
        nmi_all_rows: whether NMI and F1 use all rows however many there are.
        recall: the k of Recall@k, or None for 1, 2, 4, 8.
        ties: "expected" for scores that are means over all orders of rows of equal score, "index"
            for the order of their row numbers, as in 2021.
        queries: how many queries are ranked, drawn at random, or "all"; None = all where that takes
            an hour or less, else 10,000.
        index: one of INDEXES, by which neighbours are found approximately; None = exactly.
        index_recall: fraction of the exact neighbours that it must find, from LOWEST_RECALL to 1.
        ignore_labels: names or numbers of classes that mean "no class": gallery rows only.
        search: backend that finds the neighbours shown in a figure; scores do not depend on it.
        samples: draws per item for the sampled vMF scores, >= 1.
        seed: of those draws, of the queries drawn, of the index, and of the rows that figures show.
        figures: whether to draw figures.
        images_from: folder whose images may be shown where a file names them, besides those in the
            file's own folder and in the working directory; relative names are relative to it.
        json: file for all results, besides the metrics.json of each run.
        merge: files of other data by the same network, whose galleries are searched together.
        exclude_same: see `EvaluatedFile`.
        pairs: `.csv` of pairs of rows to verify, with columns row_a, row_b, same; None = all pairs.
        table: `.parquet` for the rows of the one file that is scored, see `evaluation.row_table`.
        many_above: classes with more training images are many-shot classes.
        few_below: classes with fewer training images are few-shot classes.
        few_max_inclusive: whether a class with exactly `few_below` is a few-shot class too.
        apart: whether files that cannot be compared are scored one by one instead of refused.
        dims: lengths of prefixes of the embeddings to score, besides all dimensions; () = none.
        precision: number formats to score, of PRECISIONS; () = none.
        rescore_multiplier: candidates per neighbour that bits find and that are compared again.
        calibrate_on: file of rows, or rows [N, D], that set the ranges of bytes; None = the
            training rows beside.
        pca_from: likewise, for the principal components that prefixes are compared with; None =
            the training rows beside.
        rerank: names from RERANKINGS.
        rerank_k1: neighbours that must be mutual, of k_reciprocal.
        rerank_k2: neighbours whose encodings k_reciprocal averages, the row itself included.
        rerank_lambda: weight in [0, 1] of the original distance in k_reciprocal.
        expand_n: neighbours that alpha_qe adds; those of dba include the row itself.
        expand_alpha: exponent >= 0 of the cosines that weigh them.
        ood: name, or None for that of the data set, and embeddings of other data by the same
            network; a file by its path, or its name in the folder of each run.
        corrupted: embeddings of the scored images at rising strengths of corruption, by the same
            network, as in `ood`; None = the file beside.
        fit_on: rows with logits and labels on which calibration and the strength of a prior are
            fitted: "valid" or "train" for the file of that split beside, or a file, as in `ood`.
        train: training rows with labels, for the detectors of `ood`; None = the file beside.
        resample: draws with replacement for the interval of every score, 0 for none, else >= 2.
        keep_rows: whether scores keep what they are of single rows, without draws, for comparisons.
        against: a run or file of the same rows that every file is compared with, row by row.
        script_of_2021: "vmf" or "deterministic" for the metric scripts of 2021, which accept one
            kind of file and print a standard error of 0 for one run; None for `evaluate`.
    """

    paths: tuple[Path, ...]
    split: str = "test"
    geometry: str | None = None
    embeddings: str | None = None
    labels: str | None = None
    curvature: float | None = None
    metrics: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    nmi_all_rows: bool = False
    recall: tuple[int, ...] | None = None
    ties: str = "expected"
    queries: int | str | None = None
    index: str | None = None
    index_recall: float = 0.99
    ignore_labels: tuple[str, ...] = ()
    search: str = "auto"
    samples: int = 10
    seed: int = 1234
    figures: bool = True
    images_from: Path | None = None
    json: Path | None = None
    merge: "tuple[Given, ...]" = ()
    exclude_same: str | None = None
    pairs: Path | None = None
    table: Path | None = None
    many_above: int = 100
    few_below: int = 20
    few_max_inclusive: bool = False
    apart: bool = False
    dims: tuple[int, ...] = ()
    precision: tuple[str, ...] = ()
    rescore_multiplier: int = 4
    calibrate_on: "Path | np.ndarray | None" = None
    pca_from: "Path | np.ndarray | None" = None
    rerank: tuple[str, ...] = ()
    rerank_k1: int = 20
    rerank_k2: int = 6
    rerank_lambda: float = 0.3
    expand_n: int = 10
    expand_alpha: float = 3.0
    ood: "tuple[tuple[str | None, Given], ...]" = ()
    corrupted: "Given | None" = None
    fit_on: "str | Path | EmbeddingFile" = "valid"
    train: "Given | None" = None
    resample: int = 0
    keep_rows: bool = False
    against: Path | None = None
    script_of_2021: str | None = None

    @property
    def thresholds(self) -> "Thresholds":
        """Class sizes at which many-shot and few-shot begin; imports torch."""
        from vmf_embeddings.metrics import Thresholds

        return Thresholds(self.many_above, self.few_below, self.few_max_inclusive)
