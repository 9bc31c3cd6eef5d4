"""Every text of every figure lies in the picture, and names cover one another nowhere."""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Annotation, Text

from tests.evaluation.runs import make_file
from tests.quick_cases import mostly_slow
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.class_ranks import draw_class_ranks
from vmf_embeddings.evaluation.figures.curves import draw_curves
from vmf_embeddings.evaluation.figures.flat import draw_circle, draw_plane
from vmf_embeddings.evaluation.figures.items import Items
from vmf_embeddings.evaluation.figures.reliability import draw_reliability
from vmf_embeddings.evaluation.figures.sphere import draw_sphere
from vmf_embeddings.evaluation.figures.style import styled
from vmf_embeddings.evaluation.figures.text import (
    class_labels,
    columns,
    different_names,
    drawable,
    missing,
    shorten,
    text_width,
    wrap,
)
from vmf_embeddings.evaluation.figures.tsne import draw_tsne
from vmf_embeddings.evaluation.figures.worst_classes import worst_classes
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.summary.figures import (
    draw_correlations,
    draw_ranking,
    draw_structure,
)
from vmf_embeddings.evaluation.summary.runs import Run
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.metrics import shot_scores

TITLE = "a_method_of_somebody_else_with_many_options loss=a_long_one on a_data_set_2026 (test), 3-D"
ODD = (
    "猫科動物",
    "$x_i^2$",
    "one\ntwo",
    "😀 smile",
    "_background_",
    "\\frac{1}{2}",
    "кот",
    "قط",
    "%",
)
NAMES = {
    "plain": lambda n: f"class {n}",
    "long": lambda n: (
        f"{n:03d}.Great_black_backed_gull_of_the_north_{'adult' if n % 2 else 'young'}"
    ),
    "odd": lambda n: ODD[n % len(ODD)] + (f" {n // len(ODD)}" if n >= len(ODD) else ""),
}
SCORES = ("recall@1", "map@r", "nmi", "rho@1", "pi_ratio", "intra")


def boxes(figure, kind=Text):
    """Texts of a figure that are seen, with their boxes in pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a character that the font does not have
        figure.canvas.draw()
    texts = [t for t in figure.findobj(kind) if t.get_visible() and t.get_text().strip()]
    hidden = {
        id(t)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for t in axis.findobj(Text)
        if not axes.axison or not _in_view(axis, t)
    }
    # without the line from a name to its point
    return [(t.get_text(), Text.get_window_extent(t).extents) for t in texts if id(t) not in hidden]


def _in_view(axis, text):
    """Whether a text of an axis is drawn: labels of ticks outside the limits are not."""
    low, high = sorted(axis.get_view_interval())
    position = text.get_position()[axis.axis_name == "y"]
    return text is axis.label or text is axis.offsetText or low <= position <= high


def assert_inside(figure):
    width, height = figure.bbox.width, figure.bbox.height
    for text, (left, bottom, right, top) in boxes(figure):
        assert left >= -0.5 and bottom >= -0.5, text
        assert right <= width + 0.5 and top <= height + 0.5, text


def assert_apart(figure, kind=Annotation):
    found = boxes(figure, kind)
    for number, (text, first) in enumerate(found):
        for other, second in found[:number]:
            # two pixels of the boxes are the space around letters
            overlap = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
            assert overlap.min() <= 2, (text, other)


def items_of(n_classes, dim, kind, weights=True):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_classes, dim))
    per_class = 4 if n_classes > 100 else 12
    numbers = np.repeat(np.arange(n_classes), per_class)
    rows = centres[numbers] + 0.2 * rng.normal(size=(len(numbers), dim))
    names = {n: NAMES[kind](n) for n in range(n_classes)}
    shown = centres if weights else None
    return Items(rows, numbers, np.arange(n_classes), names, shown, TITLE, len(rows) + 1)


@pytest.mark.parametrize("draw", [draw_circle, draw_plane, draw_sphere])
@pytest.mark.parametrize(
    ("n_classes", "kind"),
    mostly_slow(
        [(1, "plain"), (3, "odd"), (10, "long"), (36, "odd"), (50, "long"), (100, "plain")],
        [(1, "plain"), (3, "odd"), (50, "long")],
    ),
)
def test_maps_keep_texts_inside_and_names_apart(draw, n_classes, kind):
    with styled():
        figure = draw(items_of(n_classes, 3 if draw is draw_sphere else 2, kind))
        assert_inside(figure)
        assert_apart(figure)


def test_a_map_of_36_classes_names_each_and_tells_all_apart():
    items = items_of(36, 2, "long")
    with styled():
        figure = draw_plane(items)
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        handles = legend.legend_handles
        marks = {(h.get_marker(), str(h.get_color())) for h in handles}
    assert names == items.names
    assert len(set(names)) == len(marks) == 36


def test_names_that_begin_with_an_underscore_are_in_the_legend():
    items = items_of(5, 2, "odd")
    with styled():
        (legend,) = draw_plane(items).legends
    assert [text.get_text() for text in legend.get_texts()] == items.names
    assert "_background_" in items.names


def test_a_thousand_classes_get_no_legend_but_some_names_and_a_caption_that_says_so():
    with styled():
        figure = draw_plane(items_of(1000, 2, "plain"))
        assert_inside(figure)
        assert_apart(figure)
        names = [text for text, _ in boxes(figure, Annotation)]
    assert not figure.legends
    assert 10 <= len(names) <= 40
    caption = figure.get_suptitle().replace("\n", " ")
    assert "1,000 classes" in caption and "colours repeat" in caption


def test_only_classes_that_are_shown_are_marked():
    items = items_of(20, 3, "plain")
    kept = items.numbers < 15
    some = Items(items.rows[kept], items.numbers[kept], *(
        getattr(items, n) for n in ("classes", "class_names", "weights", "title", "n_rows")
    ))  # fmt: skip
    assert some.shown.tolist() == some.marked.tolist() == list(range(15))
    assert items_of(200, 3, "plain").marked.size == 0


def test_a_map_by_tsne_keeps_texts_inside_and_names_apart():
    with styled():
        figure = draw_tsne(items_of(12, 5, "long"), from_meta({"name": "cosine"}), 0)
        assert_inside(figure)
        assert_apart(figure)


@pytest.mark.parametrize(("n_classes", "kind"), [(3, "odd"), (30, "long"), (1000, "plain")])
def test_classes_by_rank_keep_texts_inside_and_groups_apart(n_classes, kind):
    counts = np.full(n_classes, 4)
    counts[:2] = 500, 60  # groups of one class beside one another
    labels = np.arange(n_classes)
    shots = shot_scores(np.eye(n_classes), labels, counts)
    names = {n: NAMES[kind](n) for n in range(n_classes)}
    with styled():
        figure = draw_class_ranks(shots, TITLE, names)
        assert_inside(figure)
        assert_apart(figure)
        texts = [text for text, _ in boxes(figure, Annotation)]
    assert {"many\n100.0 %", "medium\n100.0 %", "few\n100.0 %"} <= set(texts)


@pytest.mark.parametrize("kind", ("odd", "long"))
def test_the_lowest_of_many_classes_are_named_beside_them(kind):
    n_classes, n_tested = 60, 4
    labels = np.repeat(np.arange(n_classes), n_tested)
    n_right = np.full(n_classes, n_tested)
    n_right[[7, 30, 59]] = 1, 0, 2
    wrong = np.tile(np.arange(n_tested), n_classes) >= n_right[labels]
    predicted = np.where(wrong, (labels + 1) % n_classes, labels)
    shots = shot_scores(np.eye(n_classes)[predicted], labels, np.full(n_classes, 50))
    assert worst_classes(shots).tolist() == [30, 7, 59]
    names = {n: NAMES[kind](n) for n in range(n_classes)}
    with styled():
        figure = draw_class_ranks(shots, TITLE, names)
        assert_inside(figure)
        found = [text for text, _ in boxes(figure)]
    assert {"0 of 4", "1 of 4", "2 of 4", *class_labels([30, 7, 59], names, 24)} <= set(found)
    assert "lowest 3 of 60 classes" in found


def test_where_every_class_is_right_none_is_the_lowest():
    shots = shot_scores(np.eye(40), np.arange(40), np.full(40, 50))
    with styled():
        assert len(draw_class_ranks(shots, TITLE, None).axes) == 2  # accuracy, and the images


def history(epochs, **changes):
    """Scores of some epochs: every column has numbers, but for `changes`."""
    names = ("train_loss", "valid_metric", "test_metric", "valid_nll", "learning_rate",
             "temperature", "kappa", "train/recall@1", "valid/recall@1",
             "test/recall@1")  # fmt: skip
    values = {name: [0.1234567 * (n + 1) for n in range(epochs)] for name in names}
    return {"epoch": list(range(epochs)), **values, **changes}


@pytest.mark.parametrize(("epochs", "last"), [(1, False), (30, True), (1000, False)])
def test_curves_keep_texts_inside_and_titles_apart(epochs, last):
    with styled():
        figure = draw_curves(history(epochs), TITLE, "Recall@1", last=last)
        assert_inside(figure)
        assert_apart(figure)


def test_a_score_without_a_neighbour_is_a_dot():
    nan = math.nan
    figure = draw_curves(history(5, valid_metric=[0.5, nan, 0.6, 0.7, nan]), "t", "Recall@1")
    panels = {axes.get_title(): axes for axes in figure.axes}
    line = panels["Validation Recall@1"].lines[0]
    assert (line.get_marker(), line.get_markevery()) == ("o", [0])
    assert panels["Training loss"].lines[0].get_marker() == "None"


def test_a_last_epoch_that_was_not_scored_is_said_not_to_be():
    nan = math.nan
    figure = draw_curves(history(2, valid_metric=[0.5, nan]), "t", "Recall@1", last=True)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "kept: the last, not scored, at epoch 1" in texts


def test_losses_over_twenty_decades_have_ticks():
    figure = draw_curves({"epoch": [0, 1, 2], "train_loss": [1.0, 1e-10, 1e-20]}, "t")
    (axes,) = figure.axes
    ticks = axes.get_yticks()
    low, high = axes.get_ylim()
    assert 3 <= ((low <= ticks) & (ticks <= high)).sum() <= 15


def test_the_reliability_diagram_keeps_texts_inside():
    with styled():
        figure = draw_reliability(torch.linspace(0.2, 1, 40), torch.ones(40), TITLE)
        assert_inside(figure)


def runs_of(n_recipes, kind):
    rng = np.random.default_rng(0)
    recipe = {
        "long": lambda n: f"dml/experiment=a_long_name,criterion=margin_{n},mode.epochs=100,arch=b",
        "odd": lambda n: f"{ODD[n % len(ODD)]} {n}",
    }[kind]
    return [
        Run(Path(f"run{n}"), recipe(n // 2), "toy", n % 2, {s: rng.random() for s in SCORES})
        for n in range(2 * n_recipes)
    ]


@pytest.mark.parametrize("n_scores", [2, len(SCORES)])
def test_correlations_keep_texts_inside(n_scores):
    runs = [
        Run(r.folder, r.label, r.dataset, r.seed, dict(list(r.scores.items())[:n_scores]))
        for r in runs_of(5, "long")
    ]
    with styled():
        assert_inside(draw_correlations(runs, f"Correlation over runs, {TITLE}: 10 runs"))


@pytest.mark.parametrize(
    ("n_recipes", "kind"),
    mostly_slow([(3, "odd"), (50, "long"), (200, "long")], [(3, "odd"), (200, "long")]),
)
def test_recipes_have_names_that_fit_and_differ(n_recipes, kind):
    runs = runs_of(n_recipes, kind)
    with styled():
        ranking, structure = draw_ranking(runs, TITLE), draw_structure(runs, TITLE)
        assert_inside(ranking)
        assert_inside(structure)
        names = [text.get_text() for text in ranking.axes[0].get_yticklabels()]
    assert len(set(names)) == len(names) == min(60, n_recipes)
    assert ("best 60 of 200" in ranking.get_suptitle().replace("\n", " ")) == (n_recipes == 200)
    assert len(structure.legends) == (n_recipes <= 50)


def test_lines_fit_and_keep_every_word():
    with styled():
        lines = wrap(TITLE, 2.5, 12, most_lines=9)
        assert len(lines) > 1
        assert all(text_width(line, 12) <= 2.5 for line in lines)
        assert "".join(lines).replace(" ", "") == TITLE.replace(" ", "")
        cut = wrap("m" * 500, 2.5, 12, most_lines=2)
    assert len(cut) == 2 and cut[1].endswith("…")


def test_names_stay_different_when_they_are_cut():
    long = [f"{'very ' * 20}{n} {'long ' * 20}" for n in range(300)]
    for texts in (long, ["same"] * 5, ["猫" * 30, "猫" * 31], ["a" * 40, "a" * 40 + "b"]):
        names = different_names(texts, 18)
        assert len(set(names)) == len(texts)
        assert max(map(columns, names)) <= 18


def test_a_wide_character_takes_two_columns():
    assert columns(shorten("日本語日本語日本語", 10)) <= 10
    assert shorten("日本語", 6) == "日本語"


def test_names_that_no_font_has_stand_as_numbers_and_titles_keep_what_can_be_drawn(monkeypatch):
    from vmf_embeddings.evaluation.figures import text

    monkeypatch.setattr(text, "_has_glyph", lambda character: character.isascii())
    assert class_labels([4, 7], {4: "猫", 7: "dog"}) == ["class 4", "dog"]
    assert missing("a猫") == {"猫"}
    assert drawable("a猫\nb\ufe0f") == "a▯ b"


def test_names_that_are_not_drawn_are_noted_once(tmp_path, monkeypatch):
    from vmf_embeddings.evaluation.figures import draw_all, text
    from vmf_embeddings.evaluation.scores import Scores

    monkeypatch.setattr(text, "_has_glyph", lambda character: character.isascii())
    file = make_file({"name": "cosine"}, class_names=["猫", "dog", "犬"])
    file = dataclasses.replace(file, examples=None)
    evaluated = EvaluatedFile(tmp_path / "t.npz", tmp_path, file, from_meta({"name": "cosine"}))
    notes = draw_all(evaluated, Scores({}), EvaluationOptions(paths=(tmp_path,)))[1]
    (note,) = [note for note in notes if "class names" in note]
    assert "2 of the class names as numbers, such as 猫" in note
