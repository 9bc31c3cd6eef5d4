"""The epoch that is kept is the best by the score that was asked for; ties go to the lower NLL."""

import csv
import json
import logging
import math
import random
from types import SimpleNamespace

import pytest
import torch

from tests.cli.test_second_stage import composed
from tests.training.few_digits import trained
from tests.training.test_fit import RUN as OPEN_RUN
from tests.training.test_resume import ends_alike
from vmf_embeddings.cli import app
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.metrics import negative_log_likelihood, probabilities
from vmf_embeddings.training import checkpoint, run_status
from vmf_embeddings.training.schedules import Plateau
from vmf_embeddings.training.selection import (
    NO_EPOCH_YET,
    Selection,
    ValidationScores,
    how_close,
    improved,
    refuse_unsuited,
)
from vmf_embeddings.training.validate import log_losses_of_logits

VMF = ["method=vmf_softmax", "method.params.n_samples=3", "mode.epochs=4"]


def kept(selection, history):
    """The best epoch after every epoch of a history of scores."""
    best, found = NO_EPOCH_YET, []
    for epoch, scores in enumerate(history):
        best = selection.updated(best, epoch, 0.0, ValidationScores(*scores))
        found.append(best)
    return found


def histories(nlls):
    draw = random.Random(0)
    for _ in range(200):
        yield [(draw.choice((0.25, 0.5, 0.75)), draw.choice(nlls)) for _ in range(8)]


@pytest.mark.parametrize("by", ("accuracy", "Recall@1", "NLL"))
def test_the_best_epoch_is_the_first_of_the_best_scores_and_of_them_of_the_lowest_nll(by):
    selection = Selection(by)
    for history in histories((0.1, 0.2, 0.3, math.inf)):
        for n, best in enumerate(kept(selection, history), 1):
            order = [
                (nll, epoch) if by == "NLL" else (-metric, nll, epoch)
                for epoch, (metric, nll) in enumerate(history[:n])
            ]
            assert best["epoch"] == min(order)[-1]
            assert (best["valid_acc"], best["valid_nll"]) == history[best["epoch"]]


def test_patience_counts_from_the_last_better_score_not_from_a_lower_nll_at_the_same():
    for history in histories((0.1, 0.2, 0.3)):
        for n, best in enumerate(kept(Selection("accuracy"), history), 1):
            metrics = [metric for metric, _ in history[:n]]
            assert improved(best) == metrics.index(max(metrics))


def test_without_logits_the_first_of_equal_epochs_is_kept():
    for history in histories((None,)):
        best = kept(Selection("Recall@1"), history)[-1]
        metrics = [metric for metric, _ in history]
        assert best["epoch"] == metrics.index(max(metrics))
        assert set(best) == {"epoch", "train_loss", "valid_acc"}


def test_an_older_checkpoint_knows_no_nll_and_stays_the_best_of_equal_epochs():
    old = {"epoch": 3, "train_loss": 1.0, "valid_acc": 0.5}
    selection = Selection("accuracy")
    assert selection.updated(old, 4, 0.0, ValidationScores(0.5, 0.1)) == old
    assert selection.updated(old, 4, 0.0, ValidationScores(0.6, 0.1))["epoch"] == 4


def test_a_plateau_of_the_nll_reduces_the_rates():
    selection = Selection("NLL")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = Plateau(factor=0.5, patience=1)
    schedule.attach(optimizer, 10, 1)
    for nll in (3.0, 2.0, 1.0):
        schedule.end_epoch(selection.for_schedule(ValidationScores(0.5, nll)))
    assert optimizer.param_groups[0]["lr"] == 1.0
    for nll in (1.0, 1.5, 1.0):
        schedule.end_epoch(selection.for_schedule(ValidationScores(0.9, nll)))
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_losses_of_draws_are_those_of_the_mean_probability_and_finite_where_that_is_0():
    draw = torch.Generator().manual_seed(0)
    for shape in ((50, 6), (50, 4, 6)):
        logits, labels = torch.randn(shape, generator=draw), torch.arange(50) % 6
        wanted = negative_log_likelihood(probabilities(logits), labels)
        assert float(log_losses_of_logits(logits, labels).mean()) == pytest.approx(
            wanted, rel=1e-12
        )
    sure = torch.tensor([[0.0, 5000.0]])
    assert log_losses_of_logits(sure, torch.tensor([0])).tolist() == [5000.0]


def split(labels, **others):
    labels = torch.tensor(labels)
    values = {"labels": labels, "is_query": None, "is_gallery": None, "paths": None} | others
    values |= {"unit": "images"}

    class Rows(SimpleNamespace):
        def __len__(self):
            return len(labels)

    return Rows(**values)


def test_scores_that_say_nothing_are_refused_with_what_to_type():
    pairs, alone = split([0, 1, 1]), split([0, 1, 2])
    with_logits = SimpleNamespace(has_logits=True, name="some")
    without = SimpleNamespace(has_logits=False, name="dml")
    for select_by in ("auto", "accuracy", "nll", "recall@1", "map@r"):
        refuse_unsuited(select_by, with_logits, pairs, open_set=False)
    for select_by in ("accuracy", "nll"):
        with pytest.raises(Refused, match=f"{select_by}.* unknown .*select_by=recall@1"):
            refuse_unsuited(select_by, with_logits, pairs, open_set=True)
        with pytest.raises(Refused, match="method=dml .*no logits.*select_by=recall@1"):
            refuse_unsuited(select_by, without, pairs, open_set=False)
    for select_by in ("recall@1", "map@r"):
        with pytest.raises(Refused, match="no two of the 3 images.*select_by=accuracy"):
            refuse_unsuited(select_by, with_logits, alone, open_set=False)
        with pytest.raises(Refused, match="mode.select=last"):
            refuse_unsuited(select_by, without, alone, open_set=True)
        same_file = split([0, 1, 1], paths=["a.png", "b.png", "./b.png"])
        with pytest.raises(Refused, match="no two"):
            refuse_unsuited(select_by, without, same_file, open_set=True)
        gallery = torch.tensor([True, True, False])
        only_itself = split([0, 1, 1], is_gallery=gallery, is_query=gallery)
        with pytest.raises(Refused, match="no two"):
            refuse_unsuited(select_by, without, only_itself, open_set=True)


def test_a_score_that_does_not_suit_is_refused_before_training(tmp_path):
    with pytest.raises(Refused, match="mode.select_by=recall@1 or map@r"):
        app.train(composed([*OPEN_RUN, "mode.select_by=nll"]), tmp_path)
    with pytest.raises(Refused, match="mode.select_by is one of auto, accuracy, nll"):
        app.train(composed([*OPEN_RUN, "mode.select_by=loss"]), tmp_path)
    assert not list(tmp_path.glob("*.pt"))


def test_the_log_says_how_far_apart_the_best_epochs_are():
    rows = [
        {"epoch": epoch, "valid_metric": hits / 108, "valid_nll": nll}
        for epoch, hits, nll in ((0, 90, 0.5), (4, 107, 0.3), (9, 107, 0.1), (10, 105, 0.09))
    ]
    validated = split([0] * 108)
    line = how_close(rows, Selection("accuracy"), "valid_metric", validated)
    assert line == (
        "accuracy of the best epochs: epoch 9 0.9907, epoch 4 0.9907, equal, NLL 0.1000 and "
        "0.3000; validation split of 108 images: one is 0.93%, the binomial standard error 0.92%"
    )
    by_nll = how_close(rows, Selection("NLL"), "valid_metric", validated)
    assert "epoch 10 0.0900, epoch 9 0.1000; validation split of 108 images" in by_nll
    assert "differing by 17 of 108" in how_close(
        rows[:2], Selection("accuracy"), "valid_metric", validated
    )
    assert how_close(rows[:1], Selection("accuracy"), "valid_metric", validated) == ""


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("select_by", ("nll", "map@r"))
def test_a_run_keeps_the_epoch_that_its_records_say_is_best(tmp_path, caplog, select_by):
    with caplog.at_level(logging.INFO):
        trained(tmp_path, *VMF, f"mode.select_by={select_by}")
    rows = rows_of(tmp_path)
    state = checkpoint.load_best(tmp_path)
    if select_by == "nll":
        best = min(rows, key=lambda row: (row["valid_nll"], row["epoch"]))
    else:
        best = min(rows, key=lambda row: (-row["valid_metric"], row["valid_nll"]))
    assert state["epoch"] == state["best_epoch"]["epoch"] == best["epoch"]
    assert state["best_epoch"]["valid_acc"] == best["valid_metric"]
    assert state["best_epoch"]["valid_nll"] == best["valid_nll"]
    assert state["selected_by"] == {"nll": "NLL", "map@r": "MAP@R"}[select_by]
    assert run_status.read(tmp_path) is None  # the command writes it, not the training
    assert f"{state['selected_by']} of the best epochs: epoch {best['epoch']} " in caplog.text
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert "valid_nll" in next(csv.reader(file))


def test_a_resumed_run_keeps_the_same_epoch(tmp_path, monkeypatch):
    ends_alike(tmp_path, monkeypatch, [*VMF, "mode.select_by=nll"], 4)
