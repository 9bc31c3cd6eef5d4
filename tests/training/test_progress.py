"""The progress bar is complete on a terminal of any width; without one nothing is written."""

import io
import re

import pytest
from rich.console import Console

from vmf_embeddings.training.progress import EpochProgress

NOTES = [("validation", "0.9722"), ("lr", "0.05"), ("best", "0.9815 at epoch 2")]


def drawn(width: int, monkeypatch: pytest.MonkeyPatch, *, terminal: bool = True) -> str:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width)
    with EpochProgress(3, 12, 60, notes=NOTES, enabled=True, console=console) as bar:
        bar.show(15, 0.5723, 15 * 130)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_every_number_is_readable_at_any_width(width, monkeypatch):
    shown = drawn(width, monkeypatch)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown)
    expected = ["epoch 3 / 11", "15/60", "loss 0.5723", "images/s", "left"]
    for part in [*expected, *(" ".join(note) for note in NOTES)]:
        assert part in plain
    assert "…" not in plain
    assert all(len(line) <= width for line in re.split(r"[\r\n]+", plain))


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch):
    assert drawn(80, monkeypatch, terminal=False) == ""


def test_bar_keeps_its_width():
    bar = EpochProgress(3, 12, 60, notes=[], enabled=False)
    assert {bar.line(done, []).plain.count("━") for done in (0, 1, 15, 59, 60)} == {20}


def test_without_a_terminal_a_line_is_logged_every_half_minute(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("vmf_embeddings.training.progress.time.monotonic", lambda: now[0])
    bar = EpochProgress(1, 4, 200, notes=[], enabled=True, unit="vectors")
    with caplog.at_level("INFO"), bar:
        for step in range(100):
            now[0] += 1
            if bar.due():
                bar.show(step + 1, 0.5, 10 * (step + 1))
    assert [record.getMessage() for record in caplog.records] == [
        "[Epoch 1 / 3] batch 30 / 200, loss 0.5000, 10 vectors/s, 0:09:30 left",
        "[Epoch 1 / 3] batch 60 / 200, loss 0.5000, 10 vectors/s, 0:09:00 left",
        "[Epoch 1 / 3] batch 90 / 200, loss 0.5000, 10 vectors/s, 0:08:30 left",
    ]


def test_an_epoch_whose_successors_are_unknown_names_its_own_end_alone(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("vmf_embeddings.training.progress.time.monotonic", lambda: now[0])
    bar = EpochProgress(0, None, 200, notes=[], enabled=True)
    assert bar.line(1, []).plain.startswith("epoch 0  ")
    with caplog.at_level("INFO"), bar:
        now[0] = 40.0
        bar.show(40, 0.5, 400)
        now[0] = 55.0
    assert caplog.messages == [
        "[Epoch 0] batch 40 / 200, loss 0.5000, 10 images/s, 0:02:40 left of this epoch"
    ]
    assert bar.silent_seconds == 15.0  # what follows has its line 15 s later


def test_a_process_that_shows_no_progress_logs_none(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("vmf_embeddings.training.progress.time.monotonic", lambda: now[0])
    with caplog.at_level("INFO"), EpochProgress(0, 1, 2, notes=[], enabled=False) as bar:
        now[0] = 100.0
        bar.show(1, 0.5, 10)
    assert caplog.records == []
