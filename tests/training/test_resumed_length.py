"""A run that resumes with another number of epochs is refused, or the log says what happens."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from vmf_embeddings.samplers.progressive import ProgressiveSampler
from vmf_embeddings.samplers.random import RandomSampler
from vmf_embeddings.training.resumed_length import check_resumed_length
from vmf_embeddings.training.schedules import Constant, Cosine, MultiStep, Plateau
from vmf_embeddings.untrusted.refused import Refused

LABELS = torch.arange(6) % 2
RANDOM = RandomSampler(LABELS, batch_size=2, seed=0)
PROGRESSIVE = ProgressiveSampler(LABELS, batch_size=2, balanced_at_last=True, seed=0)


def job(schedule, sampler=RANDOM, then=2, now=4, **method):
    return SimpleNamespace(
        state=None if then is None else {"config": json.dumps({"mode": {"epochs": then}})},
        settings=SimpleNamespace(epochs=now),
        schedule=schedule,
        sampler=sampler,
        method=SimpleNamespace(**{"name": "some", "needs_n_epochs": False, **method}),
        run_dir="runs/x",
    )


SAID = [
    (Constant("epoch", 0, None), "2 and is now 4: the learning rates .* do not depend on it"),
    (Plateau(0.1, 2), "go on from where the plateau"),
    (MultiStep("epoch", 0, None, [3, 5], 0.1), r"milestones stay at epochs \[3, 5\]"),
    (Cosine("epoch", 0, None, 3, 1.0), "ends after 3 epochs .* are 0 from there on"),
]


@pytest.mark.parametrize(("schedule", "words"), SAID)
def test_the_log_says_what_each_schedule_does(caplog, schedule, words):
    with caplog.at_level("INFO"):
        check_resumed_length(job(schedule))
    (record,) = caplog.records
    assert re.search(words, record.getMessage())


DEPENDENT = [
    ({"schedule": Cosine("epoch", 0, None, None, 1.0)}, "the learning rates"),
    ({"sampler": PROGRESSIVE}, "the class probabilities of the sampler"),
    ({"needs_n_epochs": True}, "the loss of method=some"),
]


@pytest.mark.parametrize(("parts", "words"), DEPENDENT)
def test_what_depends_on_the_number_of_epochs_is_refused_with_what_to_type(parts, words):
    parts = {"schedule": Constant("epoch", 0, None)} | parts
    with pytest.raises(Refused, match=f"{words} would .* resume with mode.epochs=2, or"):
        check_resumed_length(job(**parts))
    check_resumed_length(job(**parts, now=2))


def test_nothing_is_said_of_a_first_start_and_of_the_same_number(caplog):
    with caplog.at_level("INFO"):
        check_resumed_length(job(Plateau(0.1, 2), then=None))
        check_resumed_length(job(Plateau(0.1, 2), now=2))
    assert not caplog.records
