"""One training of a method on a set of images or of feature vectors, and what it is scored by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate

import vmf_embeddings as vmf
from vmf_embeddings.datasets.digits import DigitsOpen
from vmf_embeddings.datasets.mnist import MNISTOpen
from vmf_embeddings.embeddings import EmbeddingFile

PARTS = ("train", "valid", "test")
EXPECTED = " by expected values"  # of a part whose logits are not of draws
DRAWS = 10  # calls of a method that draws samples, averaged
SHOTS, EPISODES = 5, 100
CALIBRATION = (("ece_l1_equal_width", "ECE"), ("ece_l2_equal_mass", "ECE of 2021"), ("nll", "NLL"))
Parts = dict[str, EmbeddingFile]


class Swapped:
    """An open set of digits the other way round: 5-9 train, 0-4 are retrieved.

    Settings are chosen on it, so that they are chosen without a look at the test classes.
    """

    def _read(self, part: str) -> tuple[torch.Tensor, np.ndarray]:
        images, labels = super()._read("train" if part == "test" else "test")
        return images, (labels + 5) % 10


class SwappedDigits(Swapped, DigitsOpen):
    """Of scikit-learn's digits."""


class SwappedMNIST(Swapped, MNISTOpen):
    """Of MNIST."""


@dataclass(frozen=True)
class Images:
    """A set that `experiment=NAME` trains on.

    Args:
        name: of the experiment.
        data: folder of MNIST; "" for scikit-learn's digits.
        swapped: whether its classes are swapped, to choose settings.
    """

    name: str
    data: str = ""
    swapped: bool = False

    def trained(self, words: Sequence[str]) -> tuple[vmf.Run, Parts]:
        path = [f"dataset.params.dataset_path={self.data}"] if self.data else []
        given = {"margin_warmup_epochs": 5}
        dataset = None
        if self.swapped:
            dataset = SwappedMNIST(self.data, download=False, **given) if self.data else (
                SwappedDigits(**given))  # fmt: skip
        own = [] if self.swapped else path
        run = vmf.train([f"experiment={self.name}", *own, *words], dataset, device="cpu")
        made = dataset or instantiate(run.config["dataset"]["params"])
        return run, with_expected(run, {p: _embedded_images(run, made, p) for p in PARTS})


@dataclass(frozen=True)
class Vectors:
    """A file of feature vectors, with the split of each row."""

    path: Path

    def trained(self, words: Sequence[str]) -> tuple[vmf.Run, Parts]:
        run = vmf.train(["experiment=own_features", f"data={self.path}", *words], device="cpu")
        with np.load(self.path) as stored:
            rows, labels, split = stored["embeddings"], stored["labels"], stored["split"]
        known = np.unique(labels[split == "train"])
        closed = set(labels) <= set(known)
        numbers = np.unique(labels, return_inverse=True)[1]
        ids = np.searchsorted(known, labels) if closed else numbers
        parts = {p: _file(run, rows[split == p], ids[split == p], p) for p in PARTS}
        return run, with_expected(run, parts)


@torch.no_grad()
def with_expected(run: vmf.Run, parts: Parts) -> Parts:
    """The parts, and of a method that draws samples those to score with their expected logits."""
    found = dict(parts)
    for part in ("valid", "test"):
        if parts[part].logits is not None and parts[part].logits.ndim == 3:
            rows = torch.from_numpy(parts[part].embeddings)
            logits = run.module.predict_without_draws(rows).clamp_min(1e-30).log().numpy()
            found[part + EXPECTED] = replace(parts[part], logits=logits)
    return found


def _embedded_images(run: vmf.Run, dataset: object, part: str) -> EmbeddingFile:
    split = dataset.split(part)
    rows = torch.arange(len(split)).split(500)
    images = torch.cat([split.batch(numbers)["examples"] for numbers in rows])
    ids = split.original_labels if dataset.open_set else split.labels
    return _file(run, images, np.asarray(ids), part)


@torch.no_grad()
def _file(run: vmf.Run, images: object, ids: np.ndarray, part: str) -> EmbeddingFile:
    rows = run.embed(images, batch_size=500, progress=False)
    logits, method = None, run.module
    if run.n_classes and part != "train":
        torch.manual_seed(0)
        drawn = [method.logits(torch.from_numpy(rows)) for _ in range(DRAWS)]
        logits = (torch.cat(drawn, 1) if drawn[0].ndim == 3 else drawn[0]).numpy()
    meta = {"dataset": part, "split_hash": part}
    return EmbeddingFile(embeddings=rows, ids=ids, logits=logits, meta=meta)


def open_scores(parts: Parts) -> dict[str, float]:
    """Retrieval and few-shot accuracy of unseen classes, how they are told from known ones."""
    train, valid, test = (_without_logits(parts[name]) for name in PARTS)
    found = vmf.evaluate(test, None, ["map", "uncertainty"], geometry="cosine", ks=[1])
    areas, norms = found["uncertainty"], np.linalg.norm(test.embeddings, axis=1)
    unit = np.allclose(norms, 1, atol=1e-4)  # then they say nothing
    seen = np.isin(valid.ids, train.ids).all()
    return {
        "R@1": found["retrieval"]["recall@1"],
        "MAP@R": found["normalised"]["map@r"],
        "few-shot": few_shot_accuracy(test),
        "R-AUROC, norm": None if unit else areas.get("norm/retrieval/auroc"),
        "R-AUROC, nearest": areas.get("nearest_similarity/retrieval/auroc"),
        **(known_scores(train, valid, test) if seen else {}),
    }


def known_scores(
    train: EmbeddingFile, valid: EmbeddingFile, test: EmbeddingFile
) -> dict[str, float]:
    """How other rows of the training classes are told from unseen ones, and classified."""
    found = vmf.evaluate(
        valid, None, geometry="cosine", ks=[1], train_embeddings=train, ood={"unseen": test}
    )
    return {
        "OOD AUROC": found["ood"]["unseen/knn_10/auroc"],
        "accuracy": nearest_mean_accuracy(train, valid),
    }


def closed_scores(parts: Parts) -> dict[str, float]:
    """Accuracy and calibration of known classes; of methods without logits by nearest mean."""
    test, train = parts["test"], parts["train"]
    retrieved = vmf.evaluate(_without_logits(test), None, ["map"], geometry="cosine", ks=[1])
    found = {
        "R@1": retrieved["retrieval"]["recall@1"],
        "MAP@R": retrieved["normalised"]["map@r"],
        "accuracy, nearest mean": nearest_mean_accuracy(train, test),
    }
    if test.logits is None:
        return {"accuracy": found["accuracy, nearest mean"], **found}
    for how in ("", EXPECTED):
        if f"test{how}" in parts:
            other = None if parts["valid"] is test else parts[f"valid{how}"]
            found |= {f"{k}{how}": v for k, v in calibration(parts[f"test{how}"], other).items()}
    counts = np.bincount(train.ids, minlength=test.ids.max() + 1)
    few = counts[test.ids] <= np.quantile(counts, 1 / 3)
    if counts.max() > 2 * counts.min():
        guess = vmf.metrics.probabilities(test.logits[few]).argmax(1).numpy()
        found["few"] = float((guess == test.ids[few]).mean())
    return found


def calibration(test: EmbeddingFile, other: EmbeddingFile | None) -> dict[str, float]:
    """Of logits, before and after a temperature that is fitted on other rows."""
    scored = vmf.evaluate(test, None, ["calibration"], fit_on=other, geometry="cosine")
    found = {"accuracy": scored["classification"]["accuracy"]}
    for when, title in (("before", ""), ("temperature", ", scaled")):
        for score, name in CALIBRATION:
            found[name + title] = scored["calibration"].get(f"{when}/{score}")
    return found


def nearest_mean_accuracy(train: EmbeddingFile, rows: EmbeddingFile) -> float:
    """Accuracy by the cosine with the mean of the unit rows of each training class."""
    classes = np.unique(train.ids)
    unit = _unit(train.embeddings)
    means = np.stack([unit[train.ids == c].mean(0) for c in classes])
    return float((classes[(_unit(rows.embeddings) @ _unit(means).T).argmax(1)] == rows.ids).mean())


def few_shot_accuracy(rows: EmbeddingFile) -> float:
    """Mean over episodes of 5 rows per class: the others, by the nearest mean of unit rows."""
    rng = np.random.default_rng(0)
    unit, classes = _unit(rows.embeddings), np.unique(rows.ids)
    own = {c: np.flatnonzero(rows.ids == c) for c in classes}
    shots = min(SHOTS, min(map(len, own.values())) - 1)
    found = []
    for _ in range(EPISODES):
        chosen = {c: rng.permutation(numbers) for c, numbers in own.items()}
        means = np.stack([unit[chosen[c][:shots]].mean(0) for c in classes])
        asked = np.concatenate([chosen[c][shots:] for c in classes])
        guess = classes[(unit[asked] @ _unit(means).T).argmax(1)]
        found.append((guess == rows.ids[asked]).mean())
    return float(np.mean(found))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _without_logits(file: EmbeddingFile) -> EmbeddingFile:
    return EmbeddingFile(embeddings=file.embeddings, ids=file.ids, meta=file.meta)
