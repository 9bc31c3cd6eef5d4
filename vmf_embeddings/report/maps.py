"""Maps of embeddings, as data: `page/map.js` draws them, turns them and shows images of points."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vmf_embeddings.evaluation.map_positions import MOST_TSNE_ROWS, map_positions, tsne_positions
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.report.grids import row_name
from vmf_embeddings.report.options import MOST_POINTS
from vmf_embeddings.report.packing import packed
from vmf_embeddings.report.rows import ShownRows
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.refused import MissingPackage

N_NEIGHBOURS = 5
_RING = 0.16  # width of the band over which directions on a circle are spread, to be seen apart
_NEAR = 3  # the boundary of a ball is drawn where it is less than so many times as far as points
_TSNE = "t-SNE: only near neighbours are meaningful"


@dataclass(frozen=True)
class Places:
    """Where points are.

    Args:
        kind: "sphere" (unit vectors), "ball" (three dimensions) or "plane".
        points: [n, 2] or [n, 3].
        words: what the map is.
        rim: radius of the circle or ball around them; 0 for none.
        marks: [C, 3] directions of the class weights on the sphere, or None.
    """

    kind: str
    points: np.ndarray
    words: str
    rim: float = 0.0
    marks: np.ndarray | None = None


def most_points(run: ReportedRun, n_runs: int) -> int:
    """How many rows the map of a run shows."""
    if run.options.points is not None:
        return run.options.points
    most = MOST_POINTS // n_runs
    chosen = run.options.map
    by_tsne = run.evaluated.file.embeddings.shape[1] > 3 and chosen in ("auto", "tsne")
    return min(most, MOST_TSNE_ROWS) if by_tsne else most


def places(shown: ShownRows) -> Places:
    """Places of the rows: as they are in up to three dimensions, else by the map of the options.

    Raises:
        MissingPackage: UMAP was asked for and is not installed.
    """
    run = shown.run
    evaluated = run.evaluated
    chosen = torch.from_numpy(evaluated.file.embeddings[shown.numbers]).double()
    rows = evaluated.geometry.project(chosen).numpy()
    by_direction = evaluated.geometry.faiss_metric == "ip"
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    dim = rows.shape[1]
    if dim == 3 and by_direction:
        return Places("sphere", unit, "directions on the sphere", 1.0, _weights(run))
    if dim == 3:
        rim = _rim(run, rows)
        return Places("ball", rows, "the embeddings in three dimensions" + _boundary(run, rim), rim)
    if dim == 2 and by_direction:
        spread = 1.02 + _RING * np.random.default_rng(0).random((len(unit), 1))
        words = "directions on the circle; the distance from it is random, to see points apart"
        return Places("plane", unit * spread, words, 1.0)
    if dim <= 2:
        rim = _rim(run, rows)
        flat = map_positions(rows, evaluated.geometry, 0)
        return Places("plane", flat, "the embeddings themselves" + _boundary(run, rim), rim)
    return _reduced(shown, unit if by_direction else rows)


def _boundary(run: ReportedRun, rim: float) -> str:
    """Words on the boundary of the Poincaré ball; none for other geometries."""
    curvature = getattr(run.evaluated.geometry, "c", None)
    if curvature is None:
        return ""
    radius = float(curvature) ** -0.5
    return (
        "; the circle is the boundary of the Poincaré ball"
        if rim
        else f"; the boundary of the Poincaré ball is far outside, at a radius of {radius:.4g}"
    )


def _reduced(shown: ShownRows, rows: np.ndarray) -> Places:
    """The map of rows of more than three dimensions."""
    run, n_rows = shown.run, len(rows)
    geometry, seed = run.evaluated.geometry, run.options.evaluation.seed
    kind = run.options.map
    if kind == "umap":
        return Places("plane", _umap(rows, seed), "UMAP: only near neighbours are meaningful")
    if kind == "components" or n_rows < 4:
        centred = rows - rows.mean(0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
        flat = np.zeros((n_rows, 2))  # a single row has one direction
        flat[:, : len(directions)] = centred @ directions.T
        return Places("plane", flat, "the two directions of largest variance")
    what = f"t-SNE of {n_rows:,} rows in {rows.shape[1]:,} dimensions"
    with Progress(what, at_once=n_rows > LARGE_JOB // 5):
        return Places("plane", tsne_positions(rows, geometry, seed), _TSNE)


def check_map(kind: str) -> None:
    """Raises MissingPackage where a map was asked for whose package is not installed."""
    if kind == "umap" and importlib.util.find_spec("umap") is None:
        raise MissingPackage(
            "--map umap needs the package umap-learn: pip install umap-learn, or leave --map out "
            "for t-SNE"
        )


def _umap(rows: np.ndarray, seed: int) -> np.ndarray:
    check_map("umap")
    from umap import UMAP

    with Progress(f"UMAP of {len(rows):,} rows", at_once=True):
        return np.asarray(UMAP(random_state=seed).fit_transform(rows.astype(np.float32)))


def _rim(run: ReportedRun, rows: np.ndarray) -> float:
    """Radius 1 / sqrt(c) of the Poincaré ball where it is near the points; else 0."""
    curvature = getattr(run.evaluated.geometry, "c", None)
    if curvature is None:
        return 0.0
    radius = float(curvature) ** -0.5
    return radius if radius < _NEAR * float(np.linalg.norm(rows, axis=1).max()) else 0.0


def _weights(run: ReportedRun) -> np.ndarray | None:
    """Unit class weights [C, 3] of the classes of the file; None of open sets."""
    file, classes = run.evaluated.file, run.classes
    weights = file.class_weights
    if weights is None or file.open_set or classes.min() < 0 or classes.max() >= len(weights):
        return None
    own = weights[classes].astype(np.float64)
    return own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)


def map_data(shown: ShownRows, at: Places, n_pictures: int) -> dict[str, Any]:
    """What `map.js` takes of one run, as JSON values; arrays are packed.

    Args:
        shown: the rows.
        at: where they are.
        n_pictures: so many of them, the first ones, have an image in the sheet.
    """
    run = shown.run
    scale = float(np.abs(at.points).max()) or 1.0
    place = np.full(len(run.codes), -1)
    place[shown.numbers] = np.arange(len(shown.numbers))
    near = shown.neighbours[:, :N_NEIGHBOURS]
    known = near >= 0
    codes = np.where(known, run.codes[near], 0)
    return {
        "sheet": run.number,
        "kind": at.kind,
        "points": packed(at.points / scale, "f4"),
        "dims": at.points.shape[1],
        "rim": at.rim / scale,
        "marks": None if at.marks is None else packed(at.marks, "f4"),
        "class": packed(run.codes[shown.numbers], "u2" if len(run.classes) < 2**16 else "u4"),
        "wide": len(run.classes) >= 2**16,
        "row": packed(shown.numbers, "u4"),
        "hit": packed(np.where(shown.answerable, shown.hit, 2), "u1"),
        "near": packed(np.where(known, place[near], -1), "i4"),
        "nearRow": packed(near, "i4"),
        "nearClass": packed(codes, "u4"),
        "similarity": packed(np.nan_to_num(shown.similarities[:, :N_NEIGHBOURS]), "f4"),
        "similarityName": shown.similarity_name,
        "confidence": packed(_confidence(shown), "f4"),
        "confidenceName": run.evaluated.geometry.confidence_name.replace("_", " "),
        "predicted": _predicted(shown),
        "names": run.class_names,
        "paths": _paths(shown),
        "pictures": n_pictures,
        "k": near.shape[1],
    }


def _confidence(shown: ShownRows) -> np.ndarray:
    rows = torch.from_numpy(shown.run.evaluated.file.embeddings[shown.numbers]).double()
    return shown.run.evaluated.geometry.confidence(rows).numpy()


def _predicted(shown: ShownRows) -> str | None:
    """Place in `classes` + 1 of the predicted class of each row, 0 for another one; packed."""
    run = shown.run
    classified = run.context.classified
    if classified is None:
        return None
    guess = np.zeros(len(run.codes), np.int64)
    labels = classified.predicted.guess.numpy()
    at = np.searchsorted(run.classes, labels).clip(0, len(run.classes) - 1)
    guess[classified.rows] = np.where(run.classes[at] == labels, at + 1, 0)
    return packed(guess[shown.numbers], "u4")


def _paths(shown: ShownRows) -> list[str] | None:
    """Names of the rows where the file states their paths."""
    if shown.run.evaluated.file.paths is None:
        return None
    return [row_name(shown, row) for row in shown.numbers.tolist()]


def summary(shown: ShownRows, at: Places, n_pictures: int) -> str:
    """What the map shows, in two sentences."""
    run = shown.run
    n_all, n = len(run.codes), len(shown.numbers)
    some = f"{n:,} of {n_all:,} rows" if n < n_all else f"{n:,} rows"
    asked = shown.answerable
    rate = 100 * float(shown.hit[asked].mean()) if asked.any() else float("nan")
    nearest = f"; {rate:.1f} % of the queries among them have a nearest neighbour of their class"
    images = ""
    if 0 < n_pictures < n:
        images = f" {n_pictures:,} of the points show their image: more would not fit in the page."
    return (
        f"{some} of {len(np.unique(run.codes[shown.numbers])):,} classes; {at.words}"
        f"{nearest if asked.any() else ''}.{images}"
    )
