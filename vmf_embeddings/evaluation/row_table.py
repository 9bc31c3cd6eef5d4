"""A `.parquet` with one row per embedding, for DuckDB, pandas or a viewer of embeddings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.embeddings import EmbeddingFile, canonical_split, save_parquet
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.map_positions import map_positions
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_pairs import rows_to_compare
from vmf_embeddings.evaluation.rows import images_of
from vmf_embeddings.metrics import probabilities
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search import nearest
from vmf_embeddings.search.same_image import rows_of_same_image

N_NEIGHBOURS = 10


def write_row_table(evaluated: EvaluatedFile, path: Path, options: EvaluationOptions) -> Path:
    """Writes the rows of a file with their places on a map, nearest neighbours and predictions.

    Columns: `row` (number from 0), `vector`, `label`, `ids`, `split` and `path` where they are
    known, `x` and `y` (`map_positions`), `neighbors` (ids: row numbers of the nearest gallery rows,
    without the row itself and rows of its image; distances), `hit` (whether the nearest has the
    same label), the confidence under its name (`kappa`, `norm`, `distance_to_origin`), and of
    closed sets with logits `predicted`, `probability`, `correct`. `read` takes the file as
    embeddings.

    Args:
        evaluated: the file.
        path: of the `.parquet`; its folder is created.
        options: `seed` of the map, `search` is the backend that finds the neighbours.

    Returns:
        The path.

    Raises:
        ImportError: pyarrow is not installed.
    """
    rows = rows_to_compare(evaluated)
    with Progress(f"Neighbours of {len(rows):,} rows", at_once=len(rows) > LARGE_JOB):
        neighbours, distances = _neighbours(evaluated, rows, options)
    places = map_positions(rows.cpu().numpy(), evaluated.geometry, options.seed)
    more = {
        "row": np.arange(len(rows)),
        "x": places[:, 0].astype(np.float32),
        "y": places[:, 1].astype(np.float32),
        **_split(evaluated),
        **_labels(evaluated, neighbours[:, 0]),
        **_confidence(evaluated),
        **_predictions(evaluated),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_parquet(path, _without_images(evaluated), more, (neighbours, distances))
    return path


def _without_images(evaluated: EvaluatedFile) -> EmbeddingFile:
    """The file without what takes much room and is nothing to look at, and with its geometry."""
    left_out = ("logits", "class_weights", "examples", "pictures")
    columns = ("confidence", "predicted", "probability")
    meta = {**(evaluated.file.meta or {}), "geometry": evaluated.geometry.to_meta()}
    return replace(evaluated.file, meta=meta, **dict.fromkeys((*left_out, *columns)))


def _neighbours(
    evaluated: EvaluatedFile, rows: Tensor, options: EvaluationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers [N, k] of the nearest gallery rows, -1 for none, and their distances."""
    file = evaluated.file
    every = torch.arange(len(rows))
    gallery = every if file.is_gallery is None else every[torch.from_numpy(file.is_gallery)]
    images = images_of(evaluated)
    images = every if images is None else images
    found, similarities = nearest(
        rows,
        rows[gallery.to(rows.device)],
        N_NEIGHBOURS,
        similarity=evaluated.geometry.similarity,
        metric=evaluated.geometry.faiss_metric,
        exclude=rows_of_same_image(images, images[gallery]),
        backend=options.search,
    )
    found = found.cpu()
    numbers = torch.where(found >= 0, gallery[found.clamp_min(0)], -1)
    return numbers.numpy(), _distances(evaluated, similarities.cpu()).numpy()


def _distances(evaluated: EvaluatedFile, similarities: Tensor) -> Tensor:
    """Distances, >= 0 and smaller = nearer, in the order of the geometry's similarities.

    1 - cosine, or 1 - expected cosine; the Euclidean distance; of the Poincare ball the distance
    along geodesics.
    """
    if evaluated.geometry.faiss_metric == "ip":
        return (1 - similarities).clamp_min(0)
    if evaluated.geometry.faiss_metric == "l2":
        return (-similarities).clamp_min(0).sqrt()
    curvature = getattr(evaluated.geometry, "c", None)
    if curvature is not None and hasattr(evaluated.geometry, "distance"):
        # d = arcosh(1 + 2 c r) / sqrt(c), r = |x-y|^2 / ((1-c|x|^2)(1-c|y|^2))
        return torch.acosh(1 + 2 * curvature * (-similarities).clamp_min(0)) / curvature**0.5
    return (-similarities).clamp_min(0)


def _split(evaluated: EvaluatedFile) -> Mapping[str, np.ndarray]:
    """The column `split`, where the file or its name says it."""
    by_name = canonical_split(evaluated.path.stem.rpartition("_")[2])
    split = evaluated.split_read or evaluated.meta("split") or by_name
    return {} if split is None else {"split": np.array([split] * len(evaluated.file.embeddings))}


def _labels(evaluated: EvaluatedFile, nearest: np.ndarray) -> Mapping[str, np.ndarray]:
    """The columns `hit`, and `label` where the meta data do not name classes; none without labels.

    Args:
        evaluated: the file.
        nearest: [N] row number of the nearest neighbour, -1 for none.
    """
    ids, names = evaluated.file.ids, evaluated.class_names
    if ids is None:
        return {}
    hit = (nearest >= 0) & (ids[nearest] == ids)
    if evaluated.meta("class_names") is not None:
        return {"hit": hit}
    label = ids if names is None else np.array([names[number] for number in ids.tolist()])
    return {"hit": hit, "label": label}


def _confidence(evaluated: EvaluatedFile) -> Mapping[str, np.ndarray]:
    file, geometry = evaluated.file, evaluated.geometry
    if file.confidence is not None:
        return {str(evaluated.meta("confidence_name") or "confidence"): file.confidence}
    values = geometry.confidence(torch.from_numpy(file.embeddings))
    return {geometry.confidence_name: values.numpy()}


def _predictions(evaluated: EvaluatedFile) -> Mapping[str, np.ndarray]:
    file = evaluated.file
    if file.logits is None or file.open_set or file.ids is None:
        known = {"predicted": file.predicted, "probability": file.probability}
        return {name: values for name, values in known.items() if values is not None}
    probability, guess = probabilities(file.logits).max(1)
    names = evaluated.meta("class_names")
    words = guess.numpy() if names is None else np.array([str(name) for name in names])[guess]
    return {
        "predicted": words,
        "probability": probability.float().numpy(),
        "correct": guess.numpy() == file.ids,
    }
