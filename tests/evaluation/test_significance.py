"""Intervals of the scores of a file, and its differences from another run on the same rows."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.evaluation.runs import make_file, make_run, scores_of
from tests.evaluation.test_corruption import corrupted_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import evaluate_parser, parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.paired import compare, judged, lower_is_better
from vmf_embeddings.evaluation.row_scores import (
    RowScore,
    averaged,
    class_mean_of,
    difference,
    mean_of,
)
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.evaluation.significance import intervals
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.metrics.standard_errors import wilson_95

LONG_TAIL = {"train_identity": "cafe" * 16, "train_class_counts": [500, 60, 5]}
IDS = np.repeat(np.arange(60), 5)


def run(*words) -> int:
    return evaluate(parse_evaluate([str(word) for word in (*words, "--no-figures")]))


def scored(folder, *words):
    options = parse_evaluate([str(folder), "--resample", "50", *words])
    options = dataclasses.replace(options, keep_rows=True)
    path = folder / "toy_test.npz"
    evaluated = load_evaluated_file(path, folder, options)
    return evaluated, score(evaluated, options)


def open_run(folder, seed=0, gain=1.0, singletons=0, **meta):
    """Ten-row classes of different difficulty; runs of other seeds share the rows' noise."""
    rng, own = np.random.default_rng(0), np.random.default_rng(seed)
    ids = np.r_[np.repeat(np.arange(30), 10), 100 + np.arange(singletons)]
    centres, hard = rng.normal(size=(200, 8)), rng.uniform(0.4, 1.6, 200)
    noise = rng.normal(size=(len(ids), 8)) + 0.3 * own.normal(size=(len(ids), 8))
    rows = gain * centres[ids] + hard[ids][:, None] * noise
    about = {"dataset": "toy", "split": "test", "split_hash": "abc", "open_set": True, "seed": seed,
             "method": "m", "geometry": {"name": "cosine"}, **meta}  # fmt: skip
    save_embeddings(folder / "toy_test.npz", EmbeddingFile(rows.astype("f4"), ids, meta=about))
    return folder


@pytest.mark.parametrize("geometry", [{"name": "cosine"}, {"name": "vmf"}])
def test_every_score_of_rows_is_its_function_of_weights_of_one(tmp_path, geometry):
    draws = 3 if geometry["name"] == "vmf" else None
    folder = make_run(tmp_path, geometry, n_draws=draws, **LONG_TAIL)
    evaluated, found = scored(folder, "--metrics", "uncertainty")
    n_rows = len(evaluated.file.ids)
    for key, own in found.row_scores.items():
        section, _, name = key.partition("/")
        expected = found.sections[section][name]
        assert own.value(n_rows) == pytest.approx(expected, rel=1e-9, nan_ok=True), key
        ones = torch.ones(1, n_rows, dtype=torch.float64)
        assert float(own.over_classes(ones)[0]) == pytest.approx(expected, rel=1e-9, nan_ok=True)
    wanted = {"classification/accuracy", "classification/nll", "classification/brier",
              "classification/aurc",
              "classification/macro_accuracy", "shots/many", "shots/few", "retrieval/recall@1",
              "retrieval/map@r", "retrieval/r_precision", "retrieval/mean_average_precision",
              "retrieval/mean_reciprocal_rank"}  # fmt: skip
    assert wanted <= found.row_scores.keys()
    assert ("sampled_retrieval/recall@1" in found.row_scores) == (draws is not None)
    assert any(key.startswith("uncertainty/") for key in found.row_scores)


def of_network(seed, **meta) -> EmbeddingFile:
    """Rows drawn by a seed of their own, by one network, whose class weights give the logits."""
    file = make_file({"name": "cosine"}, seed=seed, **LONG_TAIL, **meta)
    unit = file.embeddings / np.linalg.norm(file.embeddings, axis=1, keepdims=True)
    logits = unit @ file.class_weights.T / file.temperature
    return dataclasses.replace(file, logits=logits, meta={**file.meta, "seed": 0})


def test_every_score_has_an_interval_or_is_one_that_docs_leave_without():
    file, other = of_network(0), of_network(5, split_hash="other", dataset="other")
    found = vmf.evaluate(
        file, resample=10, fit_on=of_network(9, split_hash="valid"), merge=[other],
        metrics=["recall", "nmi", "map", "spectrum", "spread", "uncertainty", "verification",
                 "calibration", "prior", "ranking", "clusters"],
        ood={"other": dataclasses.replace(other, ids=None)}, corrupted=corrupted_of(file),
        train_embeddings=of_network(7, split_hash="train"), dims=[2], precision=["int8"],
        rerank=["dba"],
    )  # fmt: skip
    drawn = found.pop("significance")
    without = {
        f"{section}/{name.rpartition('/')[2].partition('_at_far')[0]}"
        for section, own in found.items()
        for name in own
        if f"{section}/{name}" not in drawn
    }
    of_spaces = {"nmi", "f1", "rho@1", "rho@2", "rho_rev@-1"}
    of_unit_rows = {"intra", "inter", "pi_ratio", "concentration_mean", "concentration_variance",
                    "concentration_relative_variance", "uniformity_g2", "alignment"}  # fmt: skip
    errors = {"ece_l2_equal_mass", "ece_l1_equal_mass", "ece_l1_equal_width", "ece_if_calibrated"}
    expected = {
        "classification": errors,
        "as_output": of_spaces,
        "normalised": of_spaces | of_unit_rows,
        "compact": {"bytes_per_row", *errors},
        "uncertainty": {"auroc_low", "auroc_high"},
        "ood": {"auroc_low", "auroc_high", "fpr95_in_positive", "fpr95_out_positive", "aupr_in",
                "aupr_out"},
        "prior": {"tau", "geometric_mean", "harmonic_mean", "worst_class", "worst_tenth",
                  "classes_never_right"},
        # of the other file, and means over both
        "merged": {"recall@1", "mmp@5", "recall@1_separate", "mmp@5_separate",
                   "nearest_of_other_data_set"},
    }  # fmt: skip
    for section in ("calibration", "clusters", "verification"):
        expected[section] = {
            name.partition("/")[2] for name in without if name.startswith(f"{section}/")
        }
    assert without == {f"{section}/{name}" for section, own in expected.items() for name in own}
    assert {"toy/recall@1", "toy/mmp@5"} <= {
        key.removeprefix("merged/") for key in drawn if key.startswith("merged/")
    }


def test_functions_of_weights_of_tables_of_ones_are_their_scores():
    file, other = of_network(0), of_network(5, split_hash="other", dataset="other")
    options = EvaluationOptions(
        paths=(), metrics=("recall", "map"), dims=(2,), precision=("int8", "binary"),
        rerank=("dba", "k_reciprocal"), merge=(other,), corrupted=corrupted_of(file),
        sections=("uncertainty", "corruption", "prior", "merged"), resample=2, keep_rows=True,
        fit_on=of_network(9, split_hash="valid"),
    )  # fmt: skip
    path = Path("toy_test.npz")
    found = score(EvaluatedFile(path, path, file, Cosine()), options)
    sections = {key.partition("/")[0] for key in found.row_scores}
    assert {"as_output", "compact", "reranked", "corruption", "prior", "merged"} <= sections
    n_rows = len(file.ids)
    ones = torch.ones(1, n_rows, dtype=torch.float64)
    for key, own in found.row_scores.items():
        section, _, name = key.partition("/")
        expected = pytest.approx(found.sections[section][name], rel=1e-9, nan_ok=True)
        assert own.value(n_rows) == expected, key
        assert float(own.over_classes(ones)[0]) == expected, key
    # calibration errors are compared alone, scores of variants have intervals alone
    errors = [own for key, own in found.row_scores.items() if "/ece_l" in key and "comp" not in key]
    assert errors and all(own.compared and not own.has_interval for own in errors)
    variants = [own for key, own in found.row_scores.items() if key.startswith("reranked/")]
    assert variants and all(own.has_interval and not own.compared for own in variants)


def test_intervals_are_printed_and_stored_over_classes_for_open_sets(tmp_path, capsys):
    folder = open_run(tmp_path, singletons=3)
    assert run(folder, "--resample", 400, "--seed", 7) == 0
    out, stored = capsys.readouterr().out, scores_of(folder)
    assert "over classes is the one for this kind of set" in out
    found = stored["significance"]["retrieval/map@r"]
    assert (found["unit"], found["n"], found["draws"], found["seed"]) == ("classes", 30, 400, 7)
    rows = found["also"][0]
    # the singletons have no other row of their class: left out and counted
    assert (rows["unit"], rows["n"], rows["n_rows_left_out"]) == ("rows", 300, 3)
    assert found["low"] < stored["retrieval"]["map@r"] < found["high"]
    assert found["high"] - found["low"] > rows["high"] - rows["low"]
    assert rows["se"] == pytest.approx(rows["se_formula"], rel=0.15)
    line = next(line for line in out.splitlines() if line.strip().startswith("MAP@R %  "))
    assert out.index("95 % intervals") > out.index(line)
    assert f"{100 * found['low']:.2f} to {100 * found['high']:.2f}" in out
    assert "Mean mAP@R: val" in out  # the lines of 2021 stay


def test_closed_sets_have_intervals_over_rows_first_and_none_without_the_option(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"})
    assert run(folder) == 0 and "significance" not in scores_of(folder)
    assert run(folder, "--resample", 100) == 0
    found = scores_of(folder)["significance"]
    assert {entry["unit"] for entry in found.values()} == {"rows"}
    assert "classification/ece_l1_equal_width" not in found


def test_proportions_near_one_have_wilsons_interval(tmp_path):
    hits = torch.ones(300, dtype=torch.float64)
    hits[:4] = 0
    found = intervals({"x": mean_of(hits)}, IDS, 100, 0)["x"]
    assert found["rows"].method == "wilson"
    assert (found["rows"].low, found["rows"].high) == wilson_95(296, 300)
    # four misses in one class: fewer independent rows than rows
    assert found["classes"].low < found["rows"].low
    perfect = intervals({"x": mean_of(torch.ones(300))}, IDS, 100, 0)["x"]
    assert (perfect["classes"].low, perfect["classes"].high) == wilson_95(60, 60)


def test_one_class_has_no_interval_over_classes_and_no_spread_gives_none():
    values = torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = intervals({"x": mean_of(values)}, np.zeros(20, int), 50, 0)["x"]
    assert math.isnan(found["classes"].low) and found["rows"].low < found["rows"].high
    constant = RowScore(*[lambda w: torch.full((len(w),), 0.5).double()] * 2)
    assert math.isnan(intervals({"x": constant}, IDS, 50, 0)["x"]["rows"].high)


def test_a_mean_over_classes_counts_a_class_as_often_as_it_is_drawn():
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(8), rng.integers(1, 9, 8))
    values = torch.from_numpy((rng.random(len(ids)) < 0.6).astype(float))
    macro = class_mean_of(values, ids)
    drawn = np.array([0, 0, 3, 5, 5, 5, 6, 7])
    weights = torch.from_numpy(np.bincount(drawn, minlength=8)[ids].astype(float))[None]
    own = [float(values[torch.from_numpy(ids == c)].mean()) for c in drawn]
    assert float(macro.over_classes(weights)[0]) == pytest.approx(np.mean(own), rel=1e-12)
    assert float(macro.over_rows(weights)[0]) == pytest.approx(
        np.mean([own[list(drawn).index(c)] for c in set(drawn)]), rel=1e-12
    )


def test_a_run_against_itself_is_not_told_apart_and_swapping_turns_everything_round():
    rng = torch.Generator().manual_seed(1)
    a, b = (torch.rand(300, dtype=torch.float64, generator=rng) for _ in range(2))
    b = b + 0.1
    of_a = {"retrieval/map@r": mean_of(a), "classification/nll": mean_of(a),
            "classification/macro_accuracy": class_mean_of(a, IDS)}  # fmt: skip
    of_b = {"retrieval/map@r": mean_of(b), "classification/nll": mean_of(b),
            "classification/macro_accuracy": class_mean_of(b, IDS)}  # fmt: skip
    for one in compare([of_a], [of_a], IDS, "classes", 60, 0):
        assert one.difference == 0 and one.p == 1 and one.verdict == "not told apart"
        assert one.ends["rows"] == (0, 0)
    there = compare([of_a], [of_b], IDS, "classes", 60, 0)
    back = compare([of_b], [of_a], IDS, "classes", 60, 0)
    for one, other in zip(there, back, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.p == pytest.approx(other.p)
        low, high = one.ends["classes"]
        assert other.ends["classes"] == pytest.approx((-high, -low))
        assert {one.verdict, other.verdict} == {"better", "worse"}
    verdicts = [one.verdict for one in there]
    assert verdicts == ["better", "worse", "better"]  # a larger NLL is worse
    assert there[0].n_better_worse == there[1].n_better_worse[::-1]
    assert all(one.p_holm >= one.p for one in there)


def test_a_difference_of_two_runs_is_surer_than_their_scores(tmp_path):
    evaluated, a = scored(open_run(tmp_path / "a"))
    _, b = scored(open_run(tmp_path / "b", seed=1))
    found = compare([a.row_scores], [b.row_scores], evaluated.file.ids, "classes", 200, 0)
    one = next(one for one in found if one.key == "retrieval/map@r")
    own = a.intervals["retrieval/map@r"]["classes"]
    assert one.ends["classes"][1] - one.ends["classes"][0] < (own.high - own.low) / 2
    assert one.difference == pytest.approx(
        b.sections["retrieval"]["map@r"] - a.sections["retrieval"]["map@r"]
    )


def test_means_over_runs_are_means_of_rows_and_of_functions():
    rng = torch.Generator().manual_seed(3)
    a, b = (torch.rand(300, dtype=torch.float64, generator=rng) for _ in range(2))
    weights = torch.randint(0, 3, (4, 300), generator=rng).double()
    mean = averaged([{"x": mean_of(a)}, {"x": mean_of(b)}])["x"]
    torch.testing.assert_close(mean.over_rows(weights), mean_of((a + b) / 2).over_rows(weights))
    macro = averaged([{"x": class_mean_of(a, IDS)}, {"x": class_mean_of(b, IDS)}])["x"]
    expected = class_mean_of((a + b) / 2, IDS)
    torch.testing.assert_close(macro.over_rows(weights), expected.over_rows(weights))
    change = difference(class_mean_of(a, IDS), class_mean_of(b, IDS))
    assert change.values is None
    torch.testing.assert_close(
        change.over_classes(weights), class_mean_of(b - a, IDS).over_classes(weights)
    )


def test_against_prints_a_sentence_per_score_and_stores_the_numbers(tmp_path, capsys):
    base, new = open_run(tmp_path / "base"), open_run(tmp_path / "new", seed=1, gain=1.3)
    assert run(new, "--against", base, "--resample", 300) == 0
    out = capsys.readouterr().out
    stored = scores_of(new)["against"]
    one = stored["scores"]["retrieval/recall@1"]
    assert one["verdict"] == "better" and one["rows_better"] > one["rows_worse"]
    sentence = next(line for line in out.splitlines() if "against base" in line)
    assert sentence.strip().startswith("Recall@1 ")
    assert f"against base {100 * one['difference']:+.2f} (rows better {one['rows_better']}" in out
    assert "corrected for 8 scores (Holm): better in Recall@1" in out
    assert not (base / "metrics.json").exists()
    assert stored["others"] == [str(base / "toy_test.npz")] and stored["draws"] == 300
    # without --resample there are the usual draws
    assert parse_evaluate([str(new), "--against", str(base)]).resample == 2000


def test_several_runs_show_every_run_and_their_interval_over_seeds(tmp_path, capsys):
    for seed in (0, 1, 2):
        open_run(tmp_path / "runs" / f"m_s{seed}", seed=seed)
    assert run(tmp_path / "runs", "--resample", 100) == 0
    out = capsys.readouterr().out
    assert "other seeds" in out and "runs" in out
    values = [scores_of(tmp_path / "runs" / f"m_s{s}")["retrieval"]["recall@1"] for s in (0, 1, 2)]
    assert " ".join(f"{100 * value:.2f}" for value in values) in out
    base = open_run(tmp_path / "base", seed=9)
    assert run(base, "--against", tmp_path / "runs", "--resample", 100) == 0
    assert "(mean of 3 runs), row by row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split_hash": "other"}, "they hold other images (split hash other… and abc"),
        ({"singletons": 2}, "they have 302 and 300 rows"),
        ({"dataset": "another"}, "has embeddings of another (test)"),
    ],
)
def test_other_rows_are_refused_before_work_starts(tmp_path, capsys, change, words):
    base, new = open_run(tmp_path / "base", **change), open_run(tmp_path / "new")
    assert run(new, "--against", base) == 2
    assert words in capsys.readouterr().err
    assert not (new / "metrics.json").exists()


def test_an_epoch_chosen_on_these_rows_makes_no_test_valid(tmp_path, capsys):
    base, new = open_run(tmp_path / "a"), open_run(tmp_path / "b", seed=1, selected_on="test")
    assert run(new, "--against", base, "--resample", 50) == 0
    assert f"Chosen here: the epoch of {new}" in capsys.readouterr().out
    assert scores_of(new)["against"]["chosen_here"] == [str(new / "toy_test.npz")]


def test_which_scores_are_better_when_they_are_smaller():
    assert lower_is_better("classification/nll") and lower_is_better("uncertainty/norm/x/aurc")
    assert not lower_is_better("retrieval/recall@1") and not lower_is_better("x/norm/y/auroc")
    assert judged(1, 0.2) == "not told apart" and judged(-1, 0.01) == "worse"
    assert judged(1, math.nan) == "unknown" and judged(0, 0.01) == "not told apart"


@pytest.mark.parametrize("words", [("--resample", "1"), ("--resample", "-5"), ("--against", "no")])
def test_options_that_make_no_sense_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse_evaluate(["x", *words])
    assert "needs" in (message := capsys.readouterr().err) or "there is no file" in message


def test_help_says_how_many_draws_are_usual():
    text = " ".join(evaluate_parser("evaluate").format_help().split())
    assert "1000 to 2000 is usual, 0 = none (0)" in text


def test_stored_results_are_read_by_summaries(tmp_path):
    from vmf_embeddings.cli.summarize import summarize
    from vmf_embeddings.cli.summarize_arguments import parse_summarize

    folder = open_run(tmp_path / "runs" / "a")
    assert run(folder, "--resample", 50, "--against", open_run(tmp_path / "b")) == 0
    json.loads((folder / "metrics.json").read_text())
    words = [str(tmp_path / "runs"), "--no-figures", "--out", str(tmp_path / "out")]
    assert summarize(parse_summarize(words)) == 0


@pytest.mark.parametrize(
    ("words", "masks"),
    [
        ((), True),
        (("--ignore-label", "3"), False),
        (("--ignore-label", "3"), True),
        (("--queries", "50"), False),
        (("--index", "ivf"), False),
    ],
)
def test_scores_of_some_queries_are_their_functions_of_weights(tmp_path, words, masks):
    if "--index" in words:
        pytest.importorskip("faiss")
    folder = open_run(tmp_path, singletons=4)
    path = folder / "toy_test.npz"
    if masks:
        with np.load(path) as archive:
            arrays = dict(archive)
        is_query = np.random.default_rng(0).random(len(arrays["ids"])) < 0.6
        np.savez(path, **arrays, is_query=is_query, is_gallery=np.ones_like(is_query))
    evaluated, found = scored(folder, *words)
    assert "retrieval/recall@1" in found.row_scores
    for key, own in found.row_scores.items():
        section, _, name = key.partition("/")
        value = own.value(len(evaluated.file.ids))
        assert value == pytest.approx(found.sections[section][name], rel=1e-9), key
    rows = found.intervals["retrieval/recall@1"]["rows"]
    assert rows.n == (50 if "--queries" in words else rows.n) <= len(evaluated.file.ids)


def test_means_in_tables_of_sections_are_tested_row_by_row_like_the_usual_ones(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"})
    _, found = scored(folder, "--metrics", "calibration")
    usual, own = (found.row_scores[f"{where}/nll"] for where in ("classification",
                                                                "calibration/before"))  # fmt: skip
    torch.testing.assert_close(own.values, usual.values)


def test_draws_without_a_score_leave_the_test_of_the_others(tmp_path):
    def score(value):
        # as an AUROC: none where no row of the first kind is drawn
        def of_weights(weights):
            found = value + 0.1 * weights[:, 1] / weights.sum(1)
            return torch.where(weights[:, 0] > 0, found, torch.nan)

        return RowScore(of_weights, of_weights)

    one = compare([{"x/y": score(0.5)}], [{"x/y": score(0.9)}], IDS, "rows", 200, 0)[0]
    assert one.p < 0.05 and one.verdict == "better" and one.signs is None
    assert math.isfinite(one.errors["rows"])
