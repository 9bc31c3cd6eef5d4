"""A second stage whose sampler learns: on real digits, interrupted and not, refused elsewhere."""

import pytest
import torch

from tests.cli.test_second_stage import FIRST, composed, differing, part
from vmf_embeddings.cli import app
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.training import checkpoint

META = [
    *("mode=finetune", "sampler=meta", "loss=balanced_softmax", "schedule=constant"),
    *("sampler.batch_size=128", "sampler.meta_batch_size=40", "sampler.learning_rate=0.1"),
    *("trainer.cpu=true", "trainer.threads=1"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch of a linear classifier."""
    folder = tmp_path_factory.mktemp("run")
    app.train(composed([*FIRST, "head=linear"]), folder)
    return folder


def last_of(run, stage, epochs):
    """The last state of a second stage of so many epochs, begun or gone on with."""
    given = [*META, f"run={run}", f"mode.stage={stage}", f"mode.epochs={epochs}"]
    folder = run / stage
    folder.mkdir(exist_ok=True)
    app.finetune(composed(given), folder, given)
    return checkpoint.load(folder / "last.pt")


def test_a_resumed_stage_ends_as_one_that_was_not_interrupted(run):
    whole = last_of(run, "whole", 3)
    last_of(run, "parts", 2)
    resumed = last_of(run, "parts", 3)
    assert not differing(whole["method_state_dict"], resumed["method_state_dict"])
    assert torch.equal(whole["sampler_state_dict"]["psi"], resumed["sampler_state_dict"]["psi"])
    assert whole["sampler_state_dict"]["psi"].abs().min() > 0
    backbone = part(checkpoint.load_best(run), "arch.")
    assert not differing(backbone, part(whole, "arch."))


def test_a_learning_sampler_is_refused_in_a_first_stage(run):
    with pytest.raises(Refused, match="add mode=finetune run=FOLDER"):
        app.train(composed([*FIRST, "sampler=meta"]), run / "first")
