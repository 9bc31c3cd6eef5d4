"""The section `calibration`: errors before and after scaling that is fitted on other rows."""

from dataclasses import replace

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

GOLDEN = load_golden("calibration")
GROUPS = ("many", "medium", "few")


def golden_file(split, case="c0", **meta) -> EmbeddingFile:
    logits, labels = GOLDEN[f"{case}/{split}_logits"], GOLDEN[f"{case}/{split}_labels"]
    counts = GOLDEN[f"{case}/train_counts"].tolist()
    described = {"dataset": "toy", "split": split, "split_hash": split, "selected_on": "valid",
                 "geometry": {"name": "cosine"}, "weights": "w", "open_set": False,
                 "train_class_counts": counts, **meta}  # fmt: skip
    return EmbeddingFile(embeddings=logits[:, :3], ids=labels, logits=logits, meta=described)


def scores(case="c0", **arguments):
    valid = golden_file("valid", case)
    given = {"fit_on": valid, "metrics": ["calibration"], **arguments}
    return vmf.evaluate(golden_file("test", case), **given)["calibration"]


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_scores_before_and_after_are_the_golden_ones(case):
    found = scores(case)
    own = {"ece_l1_equal_width": "ece_l1_equal_width_15", "ece_l2_debiased": "ece_l2_debiased_15",
           "ece_l1_equal_mass": "ece_l1_equal_mass_15", "ece_l2_equal_mass": "ece_l2_equal_mass_15",
           "classwise_ece_equal_width": "classwise_ece_equal_width_15",
           "classwise_ece_equal_mass": "classwise_ece_equal_mass_15",
           "thresholded_adaptive_ece": "thresholded_adaptive_15",
           "ece_if_calibrated": "expected_ece_if_calibrated_15"}  # fmt: skip
    for row, time in (("before", "before"), ("temperature", "after")):
        for name, theirs in own.items():
            expected = float(GOLDEN[f"{case}/{time}/exact_{theirs}"])
            # sums of logits over a temperature that is known to 1e-8
            assert found[f"{row}/{name}"] == pytest.approx(expected, rel=1e-7), (row, name)
        expected = float(GOLDEN[f"{case}/test_nll_{time}"])
        assert found[f"{row}/nll"] == pytest.approx(expected, rel=1e-8)
        for group in GROUPS:
            place = f"{case}/{time}/exact_ece_{group}_by_prediction"
            error = found.get(f"{row}/predicted_{group}/ece_l1_equal_width", np.nan)
            assert error == pytest.approx(float(GOLDEN[place]), rel=1e-7, nan_ok=True)
            n_rows = found[f"{row}/true_{group}/n_rows"]
            assert n_rows == int(GOLDEN[f"{case}/{time}/n_{group}"])
            assert f"{row}/true_{group}/ece_l1_equal_width" not in found


def test_a_temperature_changes_no_prediction_and_vector_scaling_does():
    found = scores()
    assert found["before/accuracy"] == found["temperature/accuracy"]
    assert found["before/accuracy"] != found["vector_scaling/accuracy"]
    assert found["vector_scaling/nll"] < found["temperature/nll"] < found["before/nll"]


def test_the_gap_has_an_interval_over_classes():
    found = scores()
    for row in ("before", "temperature"):
        assert found[f"{row}/gap_low"] < found[f"{row}/gap"] < found[f"{row}/gap_high"]
    assert found["before/gap_low"] > 0  # overconfident
    assert found["temperature/gap_low"] < 0 < found["temperature/gap_high"]


def test_few_rows_have_no_vector_scaling(caplog):
    valid = golden_file("valid")
    some = replace(valid, embeddings=valid.embeddings[:99], ids=valid.ids[:99],
                   logits=valid.logits[:99])  # fmt: skip
    found = scores(fit_on=some)
    assert "temperature/nll" in found and "vector_scaling/nll" not in found
    assert "no vector scaling: it needs 100 rows" in caplog.text


def test_without_a_validation_file_the_stored_logits_are_scored(caplog):
    found = scores(fit_on=None)
    assert {key.split("/")[0] for key in found} == {"before"}
    assert "toy_valid.npz" in caplog.text and "--fit-on FILE" in caplog.text


def test_nothing_is_fitted_on_the_rows_that_are_scored():
    same = golden_file("test")
    for given in (same, replace(same, meta={**same.meta, "split_hash": "another"})):
        with pytest.raises(ValueError, match="it holds the rows that are scored"):
            scores(fit_on=given)


def test_other_classes_other_networks_and_files_without_logits_are_refused():
    valid = golden_file("valid")
    short = replace(valid, logits=valid.logits[:, :8], ids=valid.ids % 8)
    with pytest.raises(ValueError, match=r"logits have the shape \[8\] for each row, not \[10\]"):
        scores(fit_on=short)
    with pytest.raises(ValueError, match="weights differs"):
        scores(fit_on=golden_file("valid", weights="another"))
    with pytest.raises(ValueError, match="it has no logits"):
        scores(fit_on=replace(valid, logits=None))
    open_set = EmbeddingFile(embeddings=np.eye(4), ids=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="needs the logits of a closed set"):
        vmf.evaluate(open_set, metrics=["calibration"])


def test_draws_are_averaged_after_scaling_and_have_no_vector(caplog):
    rng = np.random.default_rng(0)

    def file(n):
        ids = np.arange(n) % 3
        logits = 0.2 * (3 * np.eye(3)[ids][:, None] + rng.normal(size=(n, 5, 3)))
        return EmbeddingFile(embeddings=rng.normal(size=(n, 2)), ids=ids, logits=logits)

    found = vmf.evaluate(file(60), metrics=["calibration"], fit_on=file(90))["calibration"]
    assert found["temperature/nll"] < found["before/nll"]
    assert "draws" in caplog.text


def test_rows_that_are_all_right_are_scored_and_said_not_to_settle(caplog):
    ids = np.arange(60) % 3
    file = EmbeddingFile(embeddings=np.eye(60), ids=ids, logits=3.0 * np.eye(3)[ids])
    other = replace(file, logits=2.0 * np.eye(3)[ids])
    found = vmf.evaluate(file, metrics=["calibration"], fit_on=other)["calibration"]
    assert found["before/gap"] < 0 and found["temperature/gap"] == pytest.approx(0, abs=1e-9)
    assert "the temperature did not settle" in caplog.text


def run_with_validation_file(folder):
    for split in ("test", "valid"):
        save_embeddings(folder / f"toy_{split}.npz", golden_file(split))
    return folder


def test_the_command_prints_stores_and_draws(tmp_path, capsys):
    folder = run_with_validation_file(tmp_path)
    assert evaluate(parse_evaluate([str(folder), "metrics=[calibration]"])) == 0
    printed = capsys.readouterr().out
    assert "ECE if calibrated" in printed and "predicted class\n" in printed
    assert "fitted on the split that chose the epoch, valid" in printed
    about = scores_of(folder)["calibration_about"]
    golden = float(GOLDEN["c0/temperature"])
    assert about["temperature"] == {"value": pytest.approx(golden), "settled": True}
    assert about["fitted_on"].endswith("toy_valid.npz") and about["fitted_on_rows"] == 400
    assert (folder / "calibration.png").stat().st_size > 10_000
    classification = scores_of(folder)["classification"]
    expected = scores_of(folder)["calibration"]["before/ece_if_calibrated"]
    assert classification["ece_if_calibrated"] == pytest.approx(expected)


def test_fit_on_takes_a_split_or_a_file(tmp_path, capsys):
    folder = run_with_validation_file(tmp_path / "run")
    (folder / "toy_valid.npz").rename(tmp_path / "elsewhere.npz")
    command = [str(folder), "--metrics", "calibration", "--no-figures", "--fit-on"]
    assert evaluate(parse_evaluate([*command, "train"])) == 0
    assert "toy_train.npz of the same run" in capsys.readouterr().out
    assert evaluate(parse_evaluate([*command, str(tmp_path / "elsewhere.npz")])) == 0
    assert "temperature/nll" in scores_of(folder)["calibration"]
    assert evaluate(parse_evaluate([*command, str(folder / "toy_test.npz")])) == 2
    assert "it holds the rows that are scored" in capsys.readouterr().err
    train = golden_file("valid")
    train = replace(train, meta={**train.meta, "split": "train"})
    save_embeddings(folder / "toy_train.npz", train)
    assert evaluate(parse_evaluate([*command, "train"])) == 0
    assert "which the network knows" in capsys.readouterr().out


def test_a_file_without_class_sizes_has_no_groups():
    file = replace(make_file({"name": "cosine"}), examples=None)
    found = vmf.evaluate(file, metrics=["calibration"])["calibration"]
    assert {key.rpartition("/")[0] for key in found} == {"before"}
