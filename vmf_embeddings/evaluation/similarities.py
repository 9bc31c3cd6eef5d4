"""Similarities of rows in the numbers that people know: cosines, or distances."""

import numpy as np

from vmf_embeddings.geometry import Geometry


def as_shown(geometry: Geometry, similarities: np.ndarray) -> tuple[np.ndarray, str]:
    """Cosines as they are; distances in place of similarities that are in their order alone.

    Args:
        geometry: whose similarities they are.
        similarities: any shape, larger = nearer.

    Returns:
        Values of that shape, and what they are, such as "cosine" or "Euclidean distance".
    """
    if geometry.faiss_metric == "ip":
        return similarities, geometry.similarity_name
    differences = np.maximum(0, -similarities)
    if geometry.faiss_metric == "l2":
        return np.sqrt(differences), "Euclidean distance"
    curvature = getattr(geometry, "c", None)
    if curvature is not None and hasattr(geometry, "distance"):
        # d = arcosh(1 + 2 c r) / sqrt(c), r = |x-y|^2 / ((1-c|x|^2)(1-c|y|^2))
        return np.arccosh(1 + 2 * curvature * differences) / curvature**0.5, "geodesic distance"
    return similarities, geometry.similarity_name


def number_in_words(value: float) -> str:
    """A similarity or distance with three digits after the point below 10, fewer above.

    >>> number_in_words(0.9871), number_in_words(0.99996), number_in_words(12.3456)
    ('0.987', '1.000', '12.3')
    """
    digits = 3 if abs(value) < 10 else (1 if abs(value) < 1000 else 0)
    return f"{value:.{digits}f}"
