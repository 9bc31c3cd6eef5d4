"""Detectors of rows unlike the training rows: one number per row each, larger = more like them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.directional import ClassDensities
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics.arrays import as_unit_rows
from vmf_embeddings.metrics.confidence import logit_confidences
from vmf_embeddings.metrics.ood import ClassGaussians, ClassMeans, kth_neighbour, sums_of_classes
from vmf_embeddings.progress import LARGE_JOB, Progress

NEIGHBOURS = (1, 10, 50)  # fixed: a k that is chosen on the scored rows tells nothing
OF_LOGITS = ("max_probability", "max_logit", "energy", "negative_entropy")
OF_CLASSES = (
    "mahalanobis", "relative_mahalanobis", "mahalanobis_unit", "relative_mahalanobis_unit",
    "vmf_max", "vmf_mixture", "class_mean_cosine",
)  # fmt: skip
_UNIT = "_unit"  # in names of detectors of rows that are normalised before
_BLOCK_ROWS = 4096
Score = Callable[[np.ndarray], dict[str, Tensor]]


class Detectors:
    """Every detector that can be computed for rows of a network.

    Args:
        geometry: of the embeddings, which says what their length means.
        train: embeddings of training rows [M, D], or None.
        labels: their classes [M], or None.

    Attributes:
        missing: detector, or several with commas between -> why it is not offered.
        rank: directions with variance within training classes; None where it is not known.
    """

    def __init__(
        self, geometry: Geometry, train: np.ndarray | None, labels: np.ndarray | None
    ) -> None:
        self._geometry = geometry
        self._of_embeddings: list[Score] = []
        self.missing: dict[str, str] = {}
        self.rank: int | None = None
        if train is None:
            names = ("knn", *OF_CLASSES)
            self.missing[", ".join(names)] = "needs training rows"
            return
        self._add_neighbours(train)
        if labels is None:
            self.missing[", ".join(OF_CLASSES)] = "needs classes of the training rows"
            return
        for unit in (False, True):
            self._add_gaussians(train, labels, unit)
        self._add_densities(train, labels)
        means = ClassMeans.fit(train, labels)
        self._of_embeddings.append(lambda rows: {"class_mean_cosine": means.cosine(rows)})

    def scores(self, file: EmbeddingFile, rows: np.ndarray | None = None) -> dict[str, Tensor]:
        """Name -> float64 [n] for rows of a file.

        Args:
            file: their embeddings, and logits or else the largest probability where it has them.
            rows: their numbers [n]; None = all.
        """
        chosen = slice(None) if rows is None else rows
        embeddings, found = file.embeddings[chosen], {}
        if file.logits is not None:
            of_logits = logit_confidences(file.logits[chosen])
            found = {name: of_logits[name] for name in OF_LOGITS}
        elif file.probability is not None:
            # what `embed` keeps of logits
            found["max_probability"] = torch.from_numpy(file.probability[chosen]).double()
        with Progress(
            f"Comparing {len(embeddings):,} rows with training rows",
            at_once=len(embeddings) > LARGE_JOB,
        ):
            for score in self._of_embeddings:
                found |= score(embeddings)
        found[self._geometry.confidence_name] = self._lengths(embeddings)
        return found

    def _lengths(self, embeddings: np.ndarray) -> Tensor:
        parts = torch.from_numpy(embeddings).split(_BLOCK_ROWS)
        return torch.cat([self._geometry.confidence(part.double()) for part in parts])

    def _add_neighbours(self, train: np.ndarray) -> None:
        offered = [k for k in NEIGHBOURS if k <= len(train)]
        for k in NEIGHBOURS:
            if k not in offered:
                self.missing[f"knn_{k}"] = f"there are {len(train)} training rows"
        self._of_embeddings.append(partial(_neighbours, train=train, ks=offered))

    def _add_gaussians(self, train: np.ndarray, labels: np.ndarray, unit: bool) -> None:
        near, relative = (f"{name}{_UNIT * unit}" for name in OF_CLASSES[:2])
        try:
            fitted = ClassGaussians.fit(train, labels, unit=unit)
        except ValueError as error:
            self.missing[f"{near}, {relative}"] = str(error)
            return
        if not unit:
            self.rank = fitted.rank
        several = len(fitted.means) > 1
        if not several:
            self.missing[relative] = "with one class it is 0 for every row"
        self._of_embeddings.append(partial(_gaussians, fitted=fitted, several=several))

    def _add_densities(self, train: np.ndarray, labels: np.ndarray) -> None:
        if train.shape[1] < 2:
            self.missing["vmf_max, vmf_mixture"] = "needs two dimensions"
            return
        try:
            fitted = ClassDensities.fit(*sums_of_classes(train, labels, unit=True))
        except ValueError as error:
            self.missing["vmf_max, vmf_mixture"] = str(error)
            return
        self._of_embeddings.append(partial(_densities, fitted=fitted))


def _neighbours(rows: np.ndarray, train: np.ndarray, ks: list[int]) -> dict[str, Tensor]:
    return {f"knn_{k}": values for k, values in kth_neighbour(rows, train, ks).items()}


def _gaussians(rows: np.ndarray, fitted: ClassGaussians, several: bool) -> dict[str, Tensor]:
    near, background = fitted.distances(rows)
    of_unit = _UNIT * fitted.unit
    relative = {f"relative_mahalanobis{of_unit}": background - near} if several else {}
    return {f"mahalanobis{of_unit}": -near, **relative}


def _densities(rows: np.ndarray, fitted: ClassDensities) -> dict[str, Tensor]:
    largest, mixture = [], []
    for part in torch.from_numpy(rows).split(_BLOCK_ROWS):
        of_classes = fitted.log_prob(as_unit_rows(part))
        largest.append(of_classes.amax(1))
        mixture.append(fitted.mixed(of_classes))
    return {"vmf_max": torch.cat(largest), "vmf_mixture": torch.cat(mixture)}
