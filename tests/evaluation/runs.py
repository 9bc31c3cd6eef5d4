"""Small run folders for the tests of evaluation: three classes apart, with a little noise."""

import json
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

N_PER_CLASS, N_CLASSES = 12, 3
LONG_TAIL = {"train_identity": "cafe" * 16, "train_class_counts": [500, 60, 5]}


def make_file(geometry, *, dim=3, seed=0, open_set=False, n_draws=None, **meta) -> EmbeddingFile:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(N_CLASSES), N_PER_CLASS)
    centres = np.eye(N_CLASSES, dim)
    embeddings = 2 * (centres[ids] + 0.35 * rng.normal(size=(len(ids), dim)))
    shape = (len(ids), N_CLASSES) if n_draws is None else (len(ids), n_draws, N_CLASSES)
    base = 3 * np.eye(N_CLASSES)[ids]
    logits = (base if n_draws is None else base[:, None]) + rng.normal(size=shape)
    return EmbeddingFile(
        embeddings=embeddings,
        ids=ids,
        temperature=0.5,
        class_weights=centres,
        logits=None if open_set else logits,
        examples=rng.random((len(ids), 1, 6, 6)).astype(np.float32),
        meta={
            "dataset": "toy", "split": "test", "split_hash": "abc", "open_set": open_set,
            "method": "a_method", "geometry": geometry, "seed": seed,
            "class_names": ["a", "b", "c"],
            **meta,
        },
    )  # fmt: skip


def make_run(folder: Path, geometry, **options) -> Path:
    split = options.get("split", "test")
    save_embeddings(folder / f"toy_{split}.npz", make_file(geometry, **options))
    return folder


def strip_meta(folder: Path) -> Path:
    """Turn the run's file into one of 2021."""
    path = folder / "toy_test.npz"
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files if key != "meta"}
    np.savez(path, **arrays)
    return folder


def scores_of(folder: Path, name: str = "toy_test.npz") -> dict:
    return json.loads((folder / "metrics.json").read_text())[name]
