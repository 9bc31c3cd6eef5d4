"""Concentrations by overlap after training: what is chosen, what stays, what is refused."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.library.test_run import saved_run
from vmf_embeddings.cli import app
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.heads.overlap import mean_overlap_with_others, overlap_calibrated
from vmf_embeddings.training import checkpoint

SHORT = ["trainer.cpu=true", "trainer.threads=1", "num_workers=0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch on the grey values of some digits, with concentrations that move."""
    digits = load_digits()
    file = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(file, features=digits.data[:300].astype(np.float32), y=digits.target[:300])
    words = ["dataset=features", f"dataset.params.dataset_path={file}", "arch=linear"]
    words += ["arch.params.embedding_dim=8", "sampler=random", "sampler.batch_size=60"]
    words += ["mode.epochs=1", "optimizer=adam", "mode.learning_rate=0.01", *SHORT]
    folder = tmp_path_factory.mktemp("run")
    app.train(composed([*words, "method=vmf_op", "method.params.kappa_lr_factor=100"]), folder)
    return folder


def second(run, *typed, into="posthoc_kappa"):
    """The state that the second stage leaves, and its table."""
    words = ["mode=posthoc_kappa", f"run={run}", *SHORT, *typed]
    folder = run / into
    folder.mkdir()
    app.posthoc(composed(words), folder, words)
    return checkpoint.load_best(folder), json.loads((folder / f"{into}.json").read_text())


def test_alpha_is_chosen_on_validation_and_only_concentrations_change(run):
    first = vmf.load(run, device="cpu").module.classifier
    state, table = second(run)
    scores = {row["variant"]: row["class_mean"] for row in table["variants"]}
    assert (table["selected_on"], table["chosen_by"], len(scores)) == ("valid", "class_mean", 11)
    best = [name for name, score in scores.items() if score == max(scores.values())]
    assert table["kept"] == best[-1]  # of equal ones the largest alpha
    alpha = float(table["kept"].removeprefix("alpha="))
    overlap = mean_overlap_with_others(first.distributions())
    expected = overlap_calibrated(first.kappa, overlap, alpha)
    before = checkpoint.load_best(run)["method_state_dict"]
    after = state["method_state_dict"]
    assert first.kappa.std() > 0.5
    torch.testing.assert_close(after["classifier.raw_kappa"], expected.detach())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved <= {"classifier.raw_kappa"}
    assert vmf.load(run / "posthoc_kappa").config["method"]["name"] == "vmf_op"


def test_alpha_of_one_leaves_predictions_to_the_last_bit(run):
    _, table = second(run, "mode.values=[1.0]", into="one")
    x = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)
    found = vmf.load(run / "one", device="cpu").predict(x)
    assert table["kept"] == "alpha=1"
    np.testing.assert_array_equal(found, vmf.load(run, device="cpu").predict(x))


@pytest.mark.parametrize(
    ("typed", "words"),
    [("mode.values=[1.5]", r"mode.values: .* \[0, 1\], got \[1.5\]"),
     ("mode.values=[]", "at least one number"),
     ("method.params.icd_weight=0.5", "was trained with method.params.icd_weight=0.2")],
)  # fmt: skip
def test_unusable_values_are_refused_before_work(typed, words, run):
    given = ["mode=posthoc_kappa", f"run={run}", "method=vmf_op", typed]
    with pytest.raises(Refused, match=words):
        app.posthoc(composed(given), run / "refused", given)
    assert not (run / "refused").exists()


def test_runs_of_other_methods_and_none_are_refused(tmp_path):
    saved_run(tmp_path, "method=classifier")
    given = ["mode=posthoc_kappa", f"run={tmp_path}"]
    with pytest.raises(Refused, match="needs a run of method=vmf_op, .* of method=classifier"):
        app.posthoc(composed(given), tmp_path, given)
    with pytest.raises(Refused, match="add run=FOLDER"):
        app.posthoc(composed(given[:1]), tmp_path, given[:1])
