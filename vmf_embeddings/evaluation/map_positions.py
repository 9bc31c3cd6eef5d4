"""Places of embeddings in the plane: as they are, the sphere on a disc, t-SNE, or components."""

import numpy as np
import torch

from vmf_embeddings.geometry import Geometry
from vmf_embeddings.progress import Progress

MOST_TSNE_ROWS = 2000
_LONG_FROM = 1000  # rows, from which t-SNE takes seconds


def map_positions(rows: np.ndarray, geometry: Geometry, seed: int) -> np.ndarray:
    """Places [N, 2] of rows.

    Two dimensions stay as they are. Directions in three become the equal-area map of Lambert
    around their mean, of radius 2. More become t-SNE up to 2000 rows; beyond, and for fewer than
    four rows, the two directions of largest variance, in which classes overlap more.

    Args:
        rows: [N, D] float, as the geometry projects them.
        geometry: by which they are compared.
        seed: of t-SNE.
    """
    n_rows, dim = rows.shape
    if dim < 2:
        return np.concatenate([rows, np.zeros_like(rows)], axis=1)
    if dim == 2:
        return rows
    if geometry.faiss_metric == "ip":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.maximum(lengths, np.finfo(rows.dtype).tiny)
    if dim == 3 and geometry.faiss_metric == "ip":
        return _equal_area(rows)
    if 4 <= n_rows <= MOST_TSNE_ROWS:
        what = f"t-SNE of {n_rows:,} rows in {dim:,} dimensions"
        with Progress(what, at_once=n_rows > _LONG_FROM):
            return tsne_positions(rows, geometry, seed)
    centred = (rows - rows.mean(0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending variance
    places = centred @ directions[:, [-1, -2]]
    signs = np.sign(places[np.abs(places).argmax(0), [0, 1]])
    return places * np.where(signs == 0, 1, signs)  # the sign of a direction is arbitrary


def tsne_positions(rows: np.ndarray, geometry: Geometry, seed: int) -> np.ndarray:
    """Places [N, 2] by t-SNE (van der Maaten & Hinton, JMLR 9, 2008).

    Distances between rows are Euclidean, or the geometry's own where it has one (the Poincare
    ball). In the map, distances between clusters and their sizes have no meaning. Rows that are all
    equal are at one place.

    Args:
        rows: [N, D], N >= 4, of length 1 where the geometry compares directions.
        geometry: by which the rows are compared.
        seed: of t-SNE.
    """
    if not np.ptp(rows, axis=0).any():  # scikit-learn divides by their spread, and crashes
        return np.zeros((len(rows), 2))
    from sklearn.manifold import TSNE

    options = {
        "perplexity": min(30, (len(rows) - 1) / 3),
        "random_state": seed,
        "max_iter": 500,  # scikit-learn's default is 1000: clusters have settled by half
    }
    distance = getattr(geometry, "distance", None)
    if distance is not None:
        points = torch.from_numpy(rows)
        pairwise = distance(points, points).fill_diagonal_(0).numpy()
        return TSNE(metric="precomputed", init="random", **options).fit_transform(pairwise)
    return TSNE(init="pca", **options).fit_transform(rows.astype(np.float32))


def _equal_area(directions: np.ndarray) -> np.ndarray:
    """Lambert's azimuthal equal-area projection of unit vectors [N, 3] around their mean."""
    centre = directions.mean(0)
    length = np.linalg.norm(centre)
    centre = centre / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    aside = np.eye(3)[np.abs(centre).argmin()]
    right = np.cross(aside, centre)
    right /= np.linalg.norm(right)
    up = np.cross(centre, right)
    height = directions @ centre
    # r = sqrt(2 (1 - z)); the point opposite to the centre has no direction and is put on the rim
    scale = np.sqrt(2 / np.maximum(1 + height, 1e-12))
    return scale[:, None] * (directions @ np.stack([right, up], axis=1))
