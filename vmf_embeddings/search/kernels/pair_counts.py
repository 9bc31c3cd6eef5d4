"""Compiled: how many pairs of rows have a score in each of many narrow bins."""

import numpy as np

from vmf_embeddings import native


@native.compiled()
def count_tile(
    scores: np.ndarray,
    codes: tuple[np.ndarray, np.ndarray],
    images: tuple[np.ndarray, np.ndarray],
    above_diagonal: bool,
    low: float,
    scale: float,
    flagged: np.ndarray,
    counts: np.ndarray,
    found: np.ndarray,
) -> int:
    """Adds the pairs of a tile to the counts of their bins, and lists those in flagged bins.

    Args:
        scores: [n, m], of row i on the left with row j on the right.
        codes: int64 [n] and [m], classes.
        images: int64 [n] and [m]; pairs of one image are left out.
        above_diagonal: whether only pairs with j > i count.
        low: score at which bin 0 begins.
        scale: bins per unit of score; scores beyond either end count in the last bin there.
        flagged: uint8 [B].
        counts: int64 [2, B], of different and of equal classes; added to.
        found: int32 [F, 3], receives i, j and the bin of pairs in flagged bins.

    Returns:
        The number of such pairs; those beyond F are counted but not listed.
    """
    left, right, left_image, right_image = codes[0], codes[1], images[0], images[1]
    last, n_found = counts.shape[1] - 1, 0
    for i in range(scores.shape[0]):
        code, image = left[i], left_image[i]
        for j in range(i + 1 if above_diagonal else 0, scores.shape[1]):
            if right_image[j] == image:
                continue
            place = (scores[i, j] - low) * scale
            bin_ = 0 if place < 0 else last if place > last else int(place)
            counts[1 if right[j] == code else 0, bin_] += 1
            if flagged[bin_]:
                if n_found < len(found):
                    found[n_found, 0], found[n_found, 1], found[n_found, 2] = i, j, bin_
                n_found += 1
    return n_found
