"""TensorBoard reads what a run writes, and a full disk is an error of the run, not of a thread."""

import errno
import os
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vmf_embeddings.training.board import Board


def scalars(folder):
    """tag -> (step, value) pairs as TensorBoard shows them."""
    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_the_numbers(tmp_path):
    board = Board(tmp_path / "tensorboard", purge_step=0)
    for epoch in range(3):
        board.add({"epoch": epoch, "test/recall@1": 0.25 * epoch}, epoch)
        assert scalars(tmp_path / "tensorboard")["test/recall@1"][-1] == (epoch, 0.25 * epoch)
    board.close()
    assert scalars(tmp_path / "tensorboard")["epoch"] == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_what_an_interrupted_run_wrote_of_repeated_epochs_is_not_shown(tmp_path):
    first = Board(tmp_path, purge_step=0)
    for epoch in range(3):
        first.add({"loss": 1.0}, epoch)
    first.close()
    second = Board(tmp_path, purge_step=1)
    second.add({"loss": 2.0}, 1)
    second.close()
    assert scalars(tmp_path)["loss"] == [(0, 1.0), (1, 2.0)]


def test_no_thread_is_started(tmp_path):
    before = threading.active_count()
    board = Board(tmp_path, purge_step=0)
    assert threading.active_count() == before
    board.close()


def test_a_full_disk_names_the_file_and_nothing_is_tried_again(tmp_path):
    board = Board(tmp_path, purge_step=0)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), board._stream.fileno())
    with pytest.raises(OSError) as caught:
        board.add({"loss": 1.0}, 0)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(board.path))
    board.close()
