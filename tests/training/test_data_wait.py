"""The part of an epoch in which training waits for data is measured, recorded, and mended."""

import json
from types import SimpleNamespace

import pytest

from vmf_embeddings.training import data_wait
from vmf_embeddings.training.data_wait import DataWait, advice
from vmf_embeddings.training.epoch_log import log_line
from vmf_embeddings.training.records import Records
from vmf_embeddings.training.selection import Selection

from .test_epoch_log import BEST, result


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(data_wait, "time", SimpleNamespace(monotonic=lambda: now.value))
    return now


def slow_batches(clock, seconds):
    for _ in range(4):
        clock.value += seconds
        yield 1
    clock.value += seconds


@pytest.mark.parametrize(("read", "step"), [(0.0, 1.0), (1.0, 0.0), (1.0, 3.0)])
def test_the_fraction_is_the_time_of_reading_over_all(clock, read, step):
    wait = DataWait()
    assert wait.fraction == 0.0
    for _ in range(2):  # each epoch anew
        for _ in wait.timed(slow_batches(clock, read)):
            clock.value += step
        assert wait.seconds == 5 * read
        assert wait.fraction == pytest.approx(5 * read / (5 * read + 4 * step))


def test_no_batch_is_added_lost_or_taken_before_it_is_wanted():
    asked = []
    batches = DataWait().timed(asked.append(i) or i for i in range(3))
    assert next(batches) == 0 and asked == [0]
    assert list(batches) == [1, 2]
    assert list(DataWait().timed([])) == []


def test_an_error_of_a_batch_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(DataWait().timed(1 / i for i in (1, 0)))


@pytest.mark.parametrize(("read", "step", "n_warnings"), [(1, 1, 1), (1, 20, 0), (0.01, 0.01, 0)])
def test_long_waits_are_said_once(clock, caplog, read, step, n_warnings):
    wait = DataWait()
    for _ in range(2):
        for _ in wait.timed(slow_batches(clock, read)):
            clock.value += step
        wait.warn_once(0, 1)
    assert len(caplog.records) == n_warnings


def test_the_advice_is_one_that_can_be_followed():
    assert advice(2, 8).startswith("num_workers=8 in place of 2;")
    assert advice(4, 64).startswith("num_workers=16 in place of 4;")
    for n in (8, 9):
        assert "num_workers=" not in advice(n, 8)


def test_the_log_names_it_where_it_is_long():
    def line(fraction):
        numbers = vars(result({})) | {"data_wait": fraction}
        return log_line(
            type(result({}))(**numbers), BEST, n_epochs=12, select="valid", mean_seconds=2.0,
            as_in_2021=False, selection=Selection("accuracy"),
        )  # fmt: skip

    assert "images/s, data wait 25%, " in line(0.25)
    assert "data wait" not in line(0.1)


def test_a_run_from_before_the_column_goes_on(tmp_path):
    old = {"epoch": 0, "train_loss": 0.5, "seconds": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    records = Records(tmp_path, 1)
    records.add({"epoch": 1, "train_loss": 0.25, "data_wait": 0.125, "seconds": 1.0})
    records.close()
    lines = (tmp_path / "metrics.csv").read_text().split()
    assert lines == ["epoch,train_loss,seconds,data_wait", "0,0.5,1.0,", "1,0.25,1.0,0.125"]
    assert (tmp_path / "metrics.jsonl").read_text().splitlines()[0] == json.dumps(old)
