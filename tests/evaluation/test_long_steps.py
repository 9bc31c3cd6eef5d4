"""Every step of an evaluation that can take long says what it does, and on how much."""

import contextlib
import dataclasses

import numpy as np
import pytest

from tests.evaluation.runs import make_file
from vmf_embeddings.evaluation import exact_scores, scores, spaces
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures import draw_all, neighbours, style, tsne
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.metrics import evaluate
from vmf_embeddings.progress import Progress

MODULES = (exact_scores, spaces, tsne, neighbours, style)


@pytest.fixture
def steps(monkeypatch):
    """Names of the steps that ended, of all that show their progress."""
    ended = []

    class Noted(Progress):
        def __exit__(self, *error):
            super().__exit__(*error)
            ended.append((self.what, self.done / self.total, self.at_once))

    for module in MODULES:
        monkeypatch.setattr(module, "Progress", Noted)
    return ended


def evaluated_in(folder, dim=5):
    file = make_file({"name": "cosine"}, dim=dim)
    return EvaluatedFile(folder / "toy_test.npz", folder, file, from_meta({"name": "cosine"}))


def test_ranking_clusters_spectra_and_distances_are_named_with_their_size(tmp_path, steps):
    options = EvaluationOptions(paths=(tmp_path,), metrics=("recall", "nmi", "spectrum", "spread"))
    scores.score(evaluated_in(tmp_path), options)
    assert steps == [
        ("Ranking 36 rows", 1.0, False),
        ("Ranking 36 rows, as output", 1.0, False),
        ("k-means of 36 rows into 3 clusters, as output", 0.0, False),
        ("k-means of 36 rows into 3 clusters, normalised", 0.0, False),
        ("Singular values of 36 rows, as output", 0.0, False),
        ("Singular values of 36 rows, normalised", 0.0, False),
        ("Distances in and between the classes of 36 rows", 0.0, False),
    ]


def test_k_means_of_many_rows_is_named_when_it_begins(tmp_path, steps):
    evaluated = evaluated_in(tmp_path, dim=2)
    n = 170  # times 36 rows
    file = dataclasses.replace(
        evaluated.file,
        **{k: np.repeat(getattr(evaluated.file, k), n, 0) for k in ("embeddings", "ids", "logits")},
        examples=None,
    )
    many = dataclasses.replace(evaluated, file=file)
    scores.score(many, EvaluationOptions(paths=(tmp_path,), metrics=("nmi",)))
    assert {at_once for what, _, at_once in steps if what.startswith("k-means of 6,120")} == {True}


def test_every_figure_is_named_while_it_is_drawn(tmp_path, steps):
    options = EvaluationOptions(paths=(tmp_path,))
    evaluated = evaluated_in(tmp_path)
    written, _ = draw_all(evaluated, scores.score(evaluated, options), options)
    names = [what for what, _, _ in steps]
    assert {f"Drawing {path.name}" for path in written} <= set(names)
    assert "t-SNE of 36 rows in 5 dimensions" in names
    assert "Neighbours of 36 of 36 rows" in names
    assert any(name.startswith("Reading ") for name in names)


def test_steps_are_done_within_what_on_step_returns():
    inside = []

    @contextlib.contextmanager
    def on_step(what):
        inside.append(what)
        yield

    rows = np.random.default_rng(0).normal(size=(12, 3))
    labels = [0, 1, 2] * 4
    told = evaluate(rows, labels, metrics=["spectrum", "spread"], on_step=on_step)
    assert told == evaluate(rows, labels, metrics=["spectrum", "spread"])
    assert len(inside) == 3
