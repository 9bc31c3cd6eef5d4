"""The figure of concentrations shows the kappa of rows and classes, and what training recorded."""

import dataclasses

import numpy as np
import pytest

from tests.evaluation.runs import make_run
from vmf_embeddings.evaluation.figures.concentrations import draw_concentrations, quartiles
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions

HISTORY = {"epoch": [0, 1, 2], "kappa": [5.0, 6.0, 7.0], "kappa_min": [4.0, 5.0, 5.5],
           "kappa_max": [6.0, 7.0, 9.0], "spread_cost": [0.3, 0.2, 0.1]}  # fmt: skip


def evaluated(tmp_path, geometry="vmf", **options):
    run = make_run(tmp_path, {"name": geometry}, **options)
    return load_evaluated_file(run / "toy_test.npz", run, EvaluationOptions(paths=(run,)))


def with_classes(found, n_classes, n_rows=400):
    random = np.random.default_rng(0)
    ids = np.arange(n_rows) % n_classes
    rows = random.normal(size=(n_rows, 3)).astype(np.float32) * (1 + ids[:, None])
    weights = random.normal(size=(n_classes, 3)).astype(np.float32)
    changes = {"embeddings": rows, "ids": ids, "class_weights": weights}
    changes |= {k: None for k in ("logits", "examples", "pictures", "original_ids")}
    return dataclasses.replace(found, file=dataclasses.replace(found.file, **changes))


def test_quartiles_are_those_of_the_norms(tmp_path):
    found = with_classes(evaluated(tmp_path), 5)
    file, rows = found.file, quartiles(found)
    assert np.all(np.diff(rows[:, 2]) >= 0)
    for c, *three, own in rows:
        norms = np.linalg.norm(file.embeddings[file.ids == c].astype(float), axis=1)
        assert three == pytest.approx(list(np.quantile(norms, (0.25, 0.5, 0.75))))
        assert own == pytest.approx(np.linalg.norm(file.class_weights[int(c)]), rel=1e-6)


@pytest.mark.parametrize("n_classes", (1, 5, 31))
@pytest.mark.parametrize("geometry", ("vmf", "expected_likelihood"))
def test_classes_and_epochs_are_drawn(tmp_path, geometry, n_classes):
    figure = draw_concentrations(with_classes(evaluated(tmp_path, geometry), n_classes), HISTORY)
    classes, epochs, cost = figure.axes
    assert list(classes.lines[0].get_xdata()) == list(range(1, n_classes + 1))
    assert len(classes.lines) == 2  # images and classes
    assert list(epochs.lines[0].get_ydata()) == HISTORY["kappa"]
    assert list(cost.lines[0].get_ydata()) == HISTORY["spread_cost"]


@pytest.mark.parametrize("n_classes", (5, 31))
def test_each_class_is_a_line_over_epochs_and_many_are_a_band(tmp_path, n_classes):
    kappas = {str(c): [5.0 + c, 6.0, 7.0 - c / 9] for c in range(n_classes)}
    of_classes = {"epoch": HISTORY["epoch"], **kappas}
    found = with_classes(evaluated(tmp_path), n_classes)
    plain, drawn = (draw_concentrations(found, HISTORY, c).axes[1] for c in ({}, of_classes))
    if n_classes == 5:
        lines = [list(line.get_ydata()) for line in drawn.lines]
        assert lines[1:] == list(kappas.values()) and len(plain.lines) == 1
    else:
        assert len(drawn.lines) == 1 and len(drawn.collections) == len(plain.collections) + 1


def test_concentrations_of_the_classes_of_another_training_are_not_drawn(tmp_path):
    other = {"epoch": [0, 1], "0": [1.0, 2.0]}
    found = with_classes(evaluated(tmp_path), 5)
    assert len(draw_concentrations(found, HISTORY, other).axes[1].lines) == 1


def test_older_runs_and_other_methods_have_what_they_recorded(tmp_path):
    found = with_classes(evaluated(tmp_path), 5)
    older = {"epoch": [0, 1], "kappa": [5.0, float("nan")]}
    assert len(draw_concentrations(found, older).axes) == 2
    assert len(draw_concentrations(found, {}).axes) == 1
    assert draw_concentrations(evaluated(tmp_path / "b", "cosine"), HISTORY) is None


def test_classes_of_an_open_set_have_no_weights(tmp_path):
    found = evaluated(tmp_path, open_set=True)
    assert np.isnan(quartiles(found)[:, 4]).all()
    assert len(draw_concentrations(found, {}).axes[0].lines) == 1
