"""The study of methods on features: splits of its tasks, its record, and its table."""

import numpy as np
import pytest

from benchmarks import which_method as study


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    labels = np.repeat([f"c{i:02d}" for i in range(20)], 50)
    return {"embeddings": rng.normal(size=(1000, 4)).astype(np.float32), "labels": labels}


def split_of(name, found, path):
    study.task_file(name, found, path)
    with np.load(path) as file:
        return {part: file["labels"][file["split"] == part] for part in ("train", "valid", "test")}


def test_closed_splits_have_all_classes_in_the_same_shares(found, tmp_path):
    for part, labels in split_of("closed", found, tmp_path / "a.npz").items():
        counts = np.unique(labels, return_counts=True)[1]
        assert len(counts) == 20
        assert set(counts) <= {"train": {30}, "valid": {7, 8}, "test": {12, 13}}[part]


def test_open_splits_share_no_class(found, tmp_path):
    found_labels = split_of("open", found, tmp_path / "a.npz")
    classes = {part: set(labels) for part, labels in found_labels.items()}
    assert [len(classes[part]) for part in ("train", "valid", "test")] == [10, 4, 6]
    assert not classes["train"] & classes["test"] and not classes["valid"] & classes["test"]


def test_a_long_tail_thins_the_training_rows_alone(found, tmp_path):
    closed = split_of("closed", found, tmp_path / "a.npz")
    tailed = split_of("long tail", found, tmp_path / "b.npz")
    assert (closed["test"] == tailed["test"]).all() and (closed["valid"] == tailed["valid"]).all()
    counts = np.sort(np.unique(tailed["train"], return_counts=True)[1])
    assert counts[0] == 2 and counts[-1] == 30 and len(counts) == 20


def test_a_result_that_is_there_is_not_computed_again(tmp_path):
    record = study.Record(tmp_path / "a.jsonl")
    assert record.get("k", lambda: {"x": 1})["x"] == 1
    again = study.Record(tmp_path / "a.jsonl")
    assert again.get("k", lambda: pytest.fail("was computed again"))["x"] == 1


def test_the_table_states_paired_differences_with_their_interval():
    runs = [{"test": {"R@1": r, "MAP@R": 0.5}, "seconds": 1.0} for r in (0.5, 0.6, 0.7)]
    better = [{"test": {"R@1": r, "MAP@R": 0.5}, "seconds": 2.0} for r in (0.51, 0.61, 0.71)]
    task = study.Task(("a",), {}, ("R@1", "MAP@R"), "one")
    text = study.table(
        task, "a", {"one": (1e-3, runs), "two": (3e-3, better)}, {"R@1": 0.4, "MAP@R": 0.3}
    )
    assert "| the features as they are | 40.0 | 30.0 |" in text
    assert "| two | 61.0 ± 5.8 | 50.0 ± 0.0 | +1.0 (+1.0 to +1.0) | 2 | 0.003 |" in text
