"""Pictures are written for every kind of file, beside it, and show what they claim."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.runs import LONG_TAIL, make_file, make_run
from tests.quick_cases import mostly_slow
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures import draw_all
from vmf_embeddings.evaluation.figures.class_ranks import draw_class_ranks
from vmf_embeddings.evaluation.figures.curves import draw_curves, read_history
from vmf_embeddings.evaluation.figures.embedding_map import MOST_POINTS, choose_rows
from vmf_embeddings.evaluation.figures.neighbours import _choose, draw_neighbours
from vmf_embeddings.evaluation.figures.reliability import draw_reliability
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.metrics import shot_scores

CSV = (
    "epoch,train_loss,valid_metric,learning_rate,temperature,kappa\n"
    "0,2.3,0.1,1.0,1.0,5\n1,1.1,0.5,1.0,0.9,\n2,9.9,0.2,0.5,0.8,6\n2,0.9,0.4,0.5,0.8,6\n"
)


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("geometry", "dim"),
    mostly_slow(
        [("vmf", 2), ("vmf", 3), ("cosine", 5), ("euclidean", 2), ("poincare", 2), ("poincare", 4)],
        [("vmf", 3), ("cosine", 5), ("poincare", 2)],
    ),
)
def test_every_geometry_and_dimension_is_drawn(tmp_path, geometry, dim):
    meta = {"name": geometry, **({"c": 0.1} if geometry == "poincare" else {})}
    run = make_run(tmp_path, meta, dim=dim)
    (run / "metrics.csv").write_text(CSV)
    options = EvaluationOptions(paths=(run,))
    evaluated = load_evaluated_file(run / "toy_test.npz", run, options)
    figures, notes = draw_all(evaluated, score(evaluated, options), options)
    names = {"training_curves.png", "embedding_map.png", "reliability.png", "neighbours.png"}
    names |= {"concentrations.png"} if geometry == "vmf" else set()
    assert {figure.name for figure in figures} == names
    assert all(is_png(figure) for figure in figures)
    assert notes == []
    assert not list(run.glob("*.tmp"))


def test_other_splits_get_their_own_names_and_open_sets_no_reliability(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"}, split="valid", open_set=True)
    options = EvaluationOptions(paths=(run,), split="valid")
    evaluated = load_evaluated_file(run / "toy_valid.npz", run, options)
    figures, _ = draw_all(evaluated, score(evaluated, options), options)
    assert {f.name for f in figures} == {"valid_embedding_map.png", "valid_neighbours.png"}


def test_history_keeps_the_last_word_on_an_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text(CSV)
    history = read_history(tmp_path / "metrics.csv")
    assert history["epoch"] == [0, 1, 2]
    assert history["train_loss"] == [2.3, 1.1, 0.9]
    assert math.isnan(history["kappa"][1])
    assert read_history(tmp_path / "no.csv") == {}
    (tmp_path / "empty.csv").write_text("epoch,train_loss\n")
    assert read_history(tmp_path / "empty.csv") == {}


def test_curves_show_the_numbers_and_mark_the_first_best_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text(CSV)
    figure = draw_curves(read_history(tmp_path / "metrics.csv"), "title")
    panels = {axes.get_title("left") or axes.get_title(): axes for axes in figure.axes}
    assert list(panels["Training loss"].lines[0].get_ydata()) == [2.3, 1.1, 0.9]
    assert [text.get_text() for text in panels["Validation metric"].texts] == [
        "best 0.5 at epoch 1"
    ]
    figure = draw_curves(read_history(tmp_path / "metrics.csv"), "title", last=True)
    marks = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(mark.startswith("kept: the last") and mark.endswith("at epoch 2") for mark in marks)


def test_curves_name_the_metric_and_show_it_of_the_further_splits():
    history = {
        "epoch": [0, 1],
        "valid_metric": [0.5, 0.25],
        "test/recall@1": [0.75, 0.5],
        "test/recall@4": [1.0, 1.0],
        "train/recall@1": [0.875, 1.0],
    }
    axes = draw_curves(history, "t", "Recall@1").axes
    panels = {one.get_title(): one for one in axes}
    assert set(panels) == {"Validation Recall@1", "Recall@1, logged only"}
    others = panels["Recall@1, logged only"]
    assert [list(line.get_ydata()) for line in others.lines] == [[0.875, 1.0], [0.75, 0.5]]
    assert [text.get_text() for text in others.get_legend().get_texts()] == ["train", "test"]


def test_curves_mark_the_epoch_that_was_kept_in_the_metric_and_in_the_nll():
    history = {"epoch": [0, 1, 2, 3], "valid_metric": [0.5, 0.75, 0.75, 0.25]}
    history["valid_nll"] = [0.9, 0.4, 0.2, 0.3]

    def marks(**kept):
        axes = draw_curves(history, "t", "accuracy", **kept).axes
        return {one.get_title(): one.texts[0].get_text() for one in axes}

    assert marks(kept=2) == {
        "Validation accuracy": "best 0.75 at epoch 2",
        "Validation NLL, nats": "best 0.2 at epoch 2",
    }
    assert marks(kept=3)["Validation accuracy"] == "kept: 0.25 at epoch 3"
    # of a run without it, and of another stage: the first of the best
    for unknown in ({}, {"kept": 9}):
        assert marks(**unknown)["Validation accuracy"] == "best 0.75 at epoch 1"
        assert marks(**unknown)["Validation NLL, nats"] == "kept: 0.4 at epoch 1"


def test_curves_of_a_run_without_validation_leave_that_panel_out():
    figure = draw_curves({"epoch": [0, 1], "train_loss": [1.0, -1.0]}, "title")
    assert len(figure.axes) == 1


def test_reliability_points_are_the_bins():
    confidence = torch.tensor([0.6, 0.7, 0.8, 0.9])
    figure = draw_reliability(confidence, torch.tensor([1, 0, 1, 1]), "title")
    points = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert list(points.get_xdata()) == pytest.approx(confidence.tolist())
    assert list(points.get_ydata()) == [1, 0, 1, 1]
    assert "ECE" in figure.axes[0].get_title("left") + figure.axes[0].get_title()


def test_the_legend_of_the_reliability_diagram_lies_outside_the_axes():
    confidence = torch.linspace(0.5, 0.6, 8)  # correct: points in the upper left corner
    figure = draw_reliability(confidence, torch.ones(8), "title")
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(axes.get_legend() or box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {"perfect", "gap", "8 bins of equal mass", "correct", "wrong"}


def test_classes_of_a_long_tail_are_drawn_beside_their_file(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"}, split="valid", dim=2, **LONG_TAIL)
    options = EvaluationOptions(paths=(run,), split="valid")
    evaluated = load_evaluated_file(run / "toy_valid.npz", run, options)
    figures, _ = draw_all(evaluated, score(evaluated, options), options)
    assert is_png(tmp_path / "valid_per_class.png")
    assert tmp_path / "valid_per_class.png" in figures


@pytest.mark.parametrize("n_classes", [4, 70])
def test_classes_stand_by_their_training_images_with_the_means_of_their_groups(n_classes):
    rng = np.random.default_rng(0)
    counts = rng.permutation(np.geomspace(400, 3, n_classes).astype(int))
    labels = np.repeat(np.arange(n_classes), 10)
    guess = np.where(rng.random(len(labels)) < 0.7, labels, (labels + 1) % n_classes)
    shots = shot_scores(np.eye(n_classes)[guess], labels, counts)
    axes, *_, behind = draw_class_ranks(shots, "title", None).axes
    points = [line.get_xydata() for line in axes.lines if line.get_marker() == "o"]
    ranks, shown = np.concatenate(points).T
    expected = 100 * shots.accuracy.numpy()[np.argsort(-counts, kind="stable")]
    assert ranks.tolist() == list(range(1, n_classes + 1))
    assert shown == pytest.approx(expected)
    steps = behind.patches[0].get_data().values
    assert steps.tolist() == sorted(counts.tolist(), reverse=True)
    texts = [text.get_text() for text in axes.texts]
    assert texts == [f"{n}\n{100 * g.accuracy:.1f} %" for n, g in shots.groups.items()]


def test_running_mean_skips_classes_that_were_not_scored():
    labels = np.repeat(np.arange(1, 70), 2)  # class 0, the largest, has no row
    shots = shot_scores(np.eye(70)[labels], labels, np.arange(200, 130, -1))
    axes = draw_class_ranks(shots, "title", None).axes[0]
    line = next(line for line in axes.lines if "running" in str(line.get_label()))
    assert line.get_ydata().tolist() == [100] * 70


def evaluated_with_misses(tmp_path):
    file = make_file({"name": "cosine"}, open_set=True)
    labels = file.ids.copy()
    labels[:6] = 2  # six items whose neighbours are of class 0
    file = dataclasses.replace(file, ids=labels)
    return EvaluatedFile(tmp_path / "toy_test.npz", tmp_path, file, from_meta({"name": "cosine"}))


def test_the_grid_shows_hits_and_misses_and_never_the_query_itself(tmp_path):
    evaluated, options = evaluated_with_misses(tmp_path), EvaluationOptions(paths=(tmp_path,))
    queries, found, _, words = _choose(evaluated, options)
    ids = evaluated.file.ids
    n_wrong = int((ids[found[:, 0].numpy()] != ids[queries]).sum())
    assert 0 < n_wrong <= 4
    assert len(set(queries)) == len(queries) == 8
    for query, neighbours in zip(queries, found, strict=True):
        assert query not in neighbours.tolist()
    n_misses = round((1 - score(evaluated, options).sections["retrieval"]["recall@1"]) * len(ids))
    assert words == (
        f"{n_misses} of {len(ids)} queries have a wrong first neighbour; "
        f"{n_wrong} of them are shown, and {8 - n_wrong} others"
    )
    figure, _ = draw_neighbours(evaluated, options)
    assert words in figure.get_suptitle().replace("\n", " ")
    shown = [axes.get_xlabel().split("\n") for axes in figure.axes]
    rows = torch.from_numpy(evaluated.file.embeddings).double()
    cosines = torch.nn.functional.cosine_similarity(rows[queries][:, None], rows[found], dim=2)
    wanted = [f"{value:.3f}" for value in cosines.flatten().tolist()]
    assert [words[1] for words in shown if len(words) == 2] == wanted
    marks = [text.get_text() for axes in figure.axes for text in axes.texts]
    expected = evaluated.file.ids[found.numpy()] == evaluated.file.ids[queries][:, None]
    assert marks == ["✓" if hit else "✗" for hit in expected.flatten()]


def test_missing_images_are_a_note_not_a_crash(tmp_path):
    evaluated = evaluated_with_misses(tmp_path)
    paths = [f"{tmp_path}/{i}.png" for i in range(len(evaluated.file.ids))]
    evaluated = dataclasses.replace(
        evaluated, file=dataclasses.replace(evaluated.file, examples=None, paths=paths)
    )
    figure, note = draw_neighbours(evaluated, EvaluationOptions(paths=(tmp_path,)))
    assert figure is None
    assert str(tmp_path) in note
    from PIL import Image

    for path in paths:
        Image.fromarray(np.zeros((5, 9, 3), np.uint8)).save(path)
    assert draw_neighbours(evaluated, EvaluationOptions(paths=(tmp_path,)))[0] is not None


def test_a_file_without_images_is_a_note(tmp_path):
    evaluated = evaluated_with_misses(tmp_path)
    bare = dataclasses.replace(evaluated, file=dataclasses.replace(evaluated.file, examples=None))
    figure, note = draw_neighbours(bare, EvaluationOptions(paths=(tmp_path,)))
    assert figure is None
    assert "holds neither images nor their paths" in note


def test_rows_without_images_are_shown_by_their_names(tmp_path):
    evaluated = evaluated_with_misses(tmp_path)
    names = np.array([f"page {row} of the $book$" for row in range(len(evaluated.file.ids))])
    file = dataclasses.replace(evaluated.file, examples=None, paths=names)
    evaluated = dataclasses.replace(evaluated, file=file)
    options = EvaluationOptions(paths=(tmp_path,))
    query = _choose(evaluated, options)[0][0]
    figure, note = draw_neighbours(evaluated, options)
    assert note is None
    shown = [text.get_text().replace("\n", " ") for text in figure.axes[0].texts]
    assert shown == [names[query]]
    figure.savefig(tmp_path / "names.png")


def test_stored_images_stand_for_files_and_keep_their_colours(tmp_path):
    evaluated = evaluated_with_misses(tmp_path)
    n = len(evaluated.file.ids)
    pictures = np.random.default_rng(0).integers(0, 256, (n, 3, 4, 4)).astype(np.uint8)
    file = dataclasses.replace(evaluated.file, examples=None, pictures=pictures)
    evaluated, options = (
        dataclasses.replace(evaluated, file=file),
        EvaluationOptions(paths=(tmp_path,)),
    )
    query = _choose(evaluated, options)[0][0]
    figure, _ = draw_neighbours(evaluated, options)
    shown = figure.axes[0].images[0].get_array()
    assert np.allclose(shown, pictures[query].transpose(1, 2, 0) / 255)


def test_queries_without_another_of_their_class_are_not_drawn(tmp_path):
    evaluated, options = evaluated_with_misses(tmp_path), EvaluationOptions(paths=(tmp_path,))
    ids = np.arange(len(evaluated.file.ids))
    ids[[3, 7]] = 999
    pair = dataclasses.replace(evaluated, file=dataclasses.replace(evaluated.file, ids=ids))
    assert sorted(_choose(pair, options)[0]) == [3, 7]
    ids = np.arange(len(ids))
    alone = dataclasses.replace(evaluated, file=dataclasses.replace(evaluated.file, ids=ids))
    figure, note = draw_neighbours(alone, options)
    assert figure is None
    assert "no query shares its class" in note


def test_of_many_classes_whole_ones_are_shown():
    numbers = np.random.default_rng(0).permutation(np.repeat(np.arange(2000), 3))
    order = choose_rows(numbers, 2000, torch.Generator().manual_seed(0))
    assert len(set(order.tolist())) == len(order) == MOST_POINTS
    counts = np.unique(numbers[order], return_counts=True)[1]
    assert (counts < 3).sum() <= 1
    few = choose_rows(np.arange(9000) % 5, 5, torch.Generator().manual_seed(0))
    assert len(set(few.tolist())) == MOST_POINTS
    assert np.bincount(few % 5).min() > 700
