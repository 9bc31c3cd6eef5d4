"""The 1,797 handwritten digits that scikit-learn ships (Alpaydin & Kaynak 1998), as 28x28 images.

UCI "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49: real data without
a download.
"""

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vmf_embeddings.datasets.arrays import ArrayDataset, stratified_holdout
from vmf_embeddings.datasets.base import check_views

TEST_FRACTION = 0.2
N_TRAIN_CLASSES = 5  # of digits_open


@functools.cache
def read_digits() -> tuple[Tensor, np.ndarray]:
    """All digits, enlarged by bicubic interpolation from 8x8 grey values 0..16.

    Returns:
        Images uint8 [1797, 1, 28, 28] and labels int64 [1797] in 0..9.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    # float64, so that the rounding below gives the same pixels on every machine
    small = torch.from_numpy(raw.images)[:, None] / 16.0
    large = interpolate(small, size=(28, 28), mode="bicubic", align_corners=False)
    return (large.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8), raw.target.astype(np.int64)


class Digits(ArrayDataset):
    """Closed set: 20% of every class are test, 15% of the rest of every class are valid.

    Args:
        margin_warmup_epochs: see `Dataset`.
        views: copies of each training image in an item, see `Split.with_views`; they are equal,
            because digits are not augmented.
    """

    name = "digits"
    image_shape = (1, 28, 28)
    all_class_names = tuple("0123456789")

    def __init__(self, *, margin_warmup_epochs: int, views: int) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        self.views = check_views(views)

    def check(self) -> None:
        """Does nothing: the images are part of scikit-learn."""

    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        images, labels = read_digits()
        train, test = stratified_holdout(labels, TEST_FRACTION)
        chosen = test if part == "test" else train
        return images[torch.from_numpy(chosen)], labels[chosen]


class DigitsOpen(ArrayDataset):
    """Open set: digits 0-4 for training, digits 5-9 for test.

    Validation is retrieval over held-out IMAGES of the training classes, not over held-out classes
    as in Cars196, CUB200 and SOP: ten classes are too few to hold any out.
    """

    name = "digits_open"
    open_set = True
    image_shape = (1, 28, 28)
    all_class_names = tuple("0123456789")

    def check(self) -> None:
        """Does nothing: the images are part of scikit-learn."""

    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        images, labels = read_digits()
        chosen = np.flatnonzero((labels >= N_TRAIN_CLASSES) == (part == "test"))
        return images[torch.from_numpy(chosen)], labels[chosen]
