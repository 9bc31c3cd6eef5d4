"""Budgets of images and of minutes: the number of epochs, learning rates, resuming, refusals."""

import json

import pytest

from tests.training.few_digits import trained
from vmf_embeddings.training import budget, checkpoint, fit
from vmf_embeddings.training.schedules import Cosine
from vmf_embeddings.untrusted.refused import Refused


def stored(folder):
    return json.loads(checkpoint.load(folder / "last.pt")["config"])["mode"]


def epochs_run(folder):
    return len((folder / "metrics.jsonl").read_text().splitlines())


def test_images_seen_become_epochs_that_records_state(tmp_path):
    trained(tmp_path / "a", "mode.images_seen=400")  # of 152 training images: 2.6 epochs
    assert epochs_run(tmp_path / "a") == stored(tmp_path / "a")["epochs"] == 3
    trained(tmp_path / "b", "mode.images_seen=1")
    assert epochs_run(tmp_path / "b") == 1
    trained(tmp_path / "c", "mode.images_seen=100000", "mode.epochs=2")
    assert epochs_run(tmp_path / "c") == 2


def test_a_budget_of_images_resumes_and_equals_that_number_of_epochs(tmp_path):
    trained(tmp_path / "a", "mode.images_seen=400", "schedule=cosine")
    trained(tmp_path / "b", "mode.epochs=3", "schedule=cosine")
    a, b = (checkpoint.load(tmp_path / n / "last.pt")["arch_state_dict"] for n in "ab")
    assert all((a[key] == b[key]).all() for key in a)
    trained(tmp_path / "a", "mode.images_seen=400", "schedule=cosine")  # is finished
    assert epochs_run(tmp_path / "a") == 3


@pytest.fixture
def ten_seconds_an_epoch(monkeypatch):
    """The clock of `fit` alone: every epoch takes ten seconds."""
    settled = budget.settled
    monkeypatch.setattr(
        budget, "settled", lambda job, loop, epoch, *_: settled(job, loop, epoch, 10.0, 0.0)
    )


def test_minutes_end_the_training_and_the_rates_follow(tmp_path, ten_seconds_an_epoch):
    trained(tmp_path, "mode.minutes=0.5", "schedule=cosine")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == stored(tmp_path)["epochs"] == 3
    # the rate that an epoch used: a cosine over three epochs, after a first one at the peak
    assert [round(row["learning_rate"] / 0.05, 3) for row in rows] == [1.0, 0.75, 0.25]


def test_an_interrupted_run_keeps_the_number_that_it_settled_on(
    tmp_path, ten_seconds_an_epoch, monkeypatch
):
    options = ("mode.minutes=0.5", "schedule=cosine")
    trained(tmp_path / "whole", *options)
    run_epoch = fit._run_epoch

    def interrupted(loop, epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(loop, epoch, *rest)

    monkeypatch.setattr(fit, "_run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", *options)
    monkeypatch.setattr(fit, "_run_epoch", run_epoch)
    assert epochs_run(tmp_path / "cut") == 1
    trained(tmp_path / "cut", *options)
    whole, cut = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert whole["epoch"] == cut["epoch"] == 2
    for key, value in whole["arch_state_dict"].items():
        assert (value == cut["arch_state_dict"][key]).all()


@pytest.mark.parametrize(
    ("seconds", "before", "epochs"),
    [
        ([10, 10.5, 10.9, 10.9], 0.0, 4),  # at most a tenth above 40 s
        ([10, 15, 15, 15], 0.0, 3),  # 40 s have passed after the third
        ([10, 40, 40, 40], 0.0, 2),
        ([10, 10, 10, 10], 20.0, 2),  # as for features of a frozen backbone
        ([10, 1, 1, 1], 0.0, 4),
    ],
)
def test_epochs_that_become_slower_are_fewer(tmp_path, monkeypatch, seconds, before, epochs):
    settled = budget.settled

    def at_this_speed(job, loop, epoch, *_):
        return settled(job, loop, epoch, sum(seconds[: epoch + 1]) / (epoch + 1), before)

    monkeypatch.setattr(budget, "settled", at_this_speed)
    trained(tmp_path, f"mode.minutes={40 / 60}", "schedule=cosine")
    assert epochs_run(tmp_path) == stored(tmp_path)["epochs"] == epochs
    trained(tmp_path, f"mode.minutes={40 / 60}", "schedule=cosine")  # is finished
    assert epochs_run(tmp_path) == epochs


def test_what_comes_before_the_first_epoch_counts(tmp_path, monkeypatch):
    assemble = fit.assemble
    clock, late = fit.time.monotonic, [0.0]
    monkeypatch.setattr(fit.time, "monotonic", lambda: clock() + late[0])

    def slow(job):
        late[0] += 1000.0
        return assemble(job)

    monkeypatch.setattr(fit, "assemble", slow)
    trained(tmp_path, "mode.minutes=10")
    assert epochs_run(tmp_path) == 1


def test_the_log_of_a_first_epoch_promises_no_number_of_epochs(tmp_path, caplog):
    with caplog.at_level("INFO"):
        trained(tmp_path, "mode.minutes=1e-9")
    assert "Training starts: as many epochs as fit into 1e-09 minutes" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mode.minutes=1", "mode.images_seen=5"], "two budgets"),
        (["mode.images_seen=0"], "whole number >= 1"),
        (["mode.minutes=-1"], "number above 0"),
        (["mode.minutes=1", "sampler=progressive"], "mode.images_seen"),
    ],
)
def test_what_is_no_budget_is_refused(tmp_path, options, words):
    with pytest.raises(Refused, match=words):
        trained(tmp_path, *options)


def test_a_given_length_of_a_schedule_stays():
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Cosine("epoch", 0, None, 4, 1.0)
    schedule.attach(optimizer, 100, 5)
    schedule.set_length(7, 5)
    assert schedule.end == 4
