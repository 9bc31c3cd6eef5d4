"""The section `prior`: class frequencies in stored logits, and test sets of other frequencies."""

from dataclasses import replace

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

GOLDEN = load_golden("longtail_posthoc")
TEST_SETS = {"uniform": "prior_uniform", "forward_10": "prior_forward10",
             "backward_50": "prior_backward50"}  # fmt: skip


def golden_file(split, case="p0", **meta) -> EmbeddingFile:
    logits, labels = GOLDEN[f"{case}/{split}_logits"], GOLDEN[f"{case}/{split}_labels"]
    described = {"dataset": "toy", "split": split, "split_hash": split, "weights": "w",
                 "geometry": {"name": "cosine"}, "open_set": False, "prior_removed": False,
                 "train_class_counts": GOLDEN[f"{case}/train_counts"].tolist(), **meta}  # fmt: skip
    return EmbeddingFile(embeddings=logits[:, :3], ids=labels, logits=logits, meta=described)


def scores(case="p0", **meta):
    valid = golden_file("valid", case)
    file = golden_file("test", case, **meta)
    return vmf.evaluate(file, metrics=["prior"], fit_on=valid)["prior"]


@pytest.mark.parametrize("case", ["p0", "p1"])
def test_scores_are_the_golden_ones(case):
    found = scores(case)
    own = {"macro_accuracy": "arithmetic_mean", "worst_class": "worst"}
    for name in ("tau_0", "tau_1", "tau_chosen"):
        for score in ("macro_accuracy", "geometric_mean", "harmonic_mean", "worst_class",
                      "worst_tenth", "classes_never_right", "many", "medium", "few"):  # fmt: skip
            expected = float(GOLDEN[f"{case}/{name}/{own.get(score, score)}"])
            value = found[f"adjusted/{name}/{score}"]
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), (name, score)
    assert found["adjusted/tau_chosen/tau"] == float(GOLDEN[f"{case}/chosen_tau"])
    for name, theirs in TEST_SETS.items():
        for column in ("plain", "true_prior"):
            place = f"{case}/{theirs}"
            expected = float(GOLDEN[f"{place}/weighted_accuracy_{column}"])
            assert found[f"test/{name}/{column}"] == pytest.approx(expected, rel=1e-12)
            expected = float(GOLDEN[f"{place}/accuracy_{column}"])
            kept = found[f"test/{name}/{column}_first_rows"]
            assert kept == pytest.approx(expected, rel=1e-12), (name, column)


def test_on_a_uniform_test_set_the_true_prior_is_the_uniform_one():
    found = scores()
    assert found["test/uniform/true_prior"] == found["test/uniform/uniform_prior"]
    assert found["test/uniform/uniform_prior"] == found["adjusted/tau_1/accuracy"]
    assert found["test/uniform/plain"] == found["adjusted/tau_0/accuracy"]


def test_logits_without_the_prior_are_not_adjusted_again(caplog):
    found = scores(prior_removed=True)
    assert {key.split("/")[1] for key in found if key.startswith("adjusted")} == {"tau_0"}
    for name in TEST_SETS:
        assert found[f"test/{name}/plain"] == found[f"test/{name}/uniform_prior"]
    assert "they are not taken out again" in caplog.text


def test_a_file_that_does_not_say_has_both_and_claims_neither(caplog):
    found = scores(prior_removed=None)
    said = scores(prior_removed=True)
    assert "does not say whether training took the class frequencies out" in caplog.text
    for name in TEST_SETS:
        both = found[f"test/{name}/true_prior_if_removed"], said[f"test/{name}/true_prior"]
        assert both[0] == both[1]
    assert "test/uniform/true_prior_if_removed" not in scores(prior_removed=False)


def test_frequencies_are_estimated_with_a_hundred_rows_of_each_class():
    assert "test/uniform/estimated_prior" not in scores()
    test, valid = golden_file("test"), golden_file("valid")
    logits, ids = (np.concatenate([a, b]) for a, b in ((test.logits, valid.logits),
                                                       (test.ids, valid.ids)))  # fmt: skip
    more = replace(test, embeddings=np.tile(logits[:, :3], (2, 1)), ids=np.tile(ids, 2),
                   logits=np.tile(logits, (2, 1)))  # fmt: skip
    found = vmf.evaluate(more, metrics=["prior"])["prior"]
    assert found["test/backward_50/estimated_prior"] > found["test/backward_50/plain"]


def test_without_other_rows_no_strength_is_chosen(caplog):
    found = vmf.evaluate(golden_file("test"), metrics=["prior"])["prior"]
    assert "adjusted/tau_chosen/tau" not in found and "adjusted/tau_1/accuracy" in found
    assert "tau needs toy_valid.npz" in caplog.text


def test_equal_class_sizes_are_said_to_leave_no_prior(caplog):
    found = scores(train_class_counts=[50] * 10)
    assert found["adjusted/tau_0/accuracy"] == found["adjusted/tau_1/accuracy"]
    assert "there is hardly a prior to take out" in caplog.text


@pytest.mark.parametrize("counts", [None, [0] * 10])
def test_without_training_images_there_is_no_prior(counts):
    with pytest.raises(ValueError, match="needs the training images of each class"):
        scores(train_class_counts=counts)


def test_classes_without_training_images_or_test_rows_are_scored(caplog):
    counts = GOLDEN["p0/train_counts"].tolist()
    file = golden_file("test", train_class_counts=[*counts[:-1], 0])
    some = file.ids != 3
    fewer = replace(file, embeddings=file.embeddings[some], ids=file.ids[some],
                    logits=file.logits[some])  # fmt: skip
    found = vmf.evaluate(fewer, metrics=["prior"])["prior"]
    assert all(np.isfinite(value) for value in found.values())
    assert "1 classes have no training images" in caplog.text


def test_files_without_logits_or_training_images_are_refused():
    with pytest.raises(ValueError, match="needs the logits of a closed set"):
        vmf.evaluate(np.eye(4), [0, 0, 1, 1], metrics=["prior"])
    file = replace(make_file({"name": "cosine"}), examples=None)
    with pytest.raises(ValueError, match="needs the training images of each class"):
        vmf.evaluate(file, metrics=["prior"])


def test_the_command_prints_and_stores(tmp_path, capsys):
    for split in ("test", "valid"):
        save_embeddings(tmp_path / f"toy_{split}.npz", golden_file(split))
    assert evaluate(parse_evaluate([str(tmp_path), "--metrics", "prior", "--no-figures"])) == 0
    printed = capsys.readouterr().out
    assert "true prior (oracle) %" in printed and "never right" in printed
    assert "tau 0.75 has the largest macro accuracy on 200 rows" in printed
    about = scores_of(tmp_path)["prior_about"]
    assert about["tau"]["value"] == 0.75 and about["tau"]["rows_of_smallest_class"] == 20
    assert len(about["tau"]["macro_accuracy"]) == 11 and about["prior_removed"] is False
