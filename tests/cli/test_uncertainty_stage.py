"""A predictor of the loss is fitted to a finished run, which stays as it is to the last bit."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.methods.laws import normal
from vmf_embeddings.cli import app, assembly, uncertainty_stage
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.extract import extract
from vmf_embeddings.methods.loss_predictor import prediction_loss
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.uncertainty import FitOptions, fit_predictor, fit_uncertainty, judge

NET = ["arch=n_digit_mnist", "arch.params.embedding_dim=8", "trainer.cpu=true", "trainer.threads=1"]
SHORT = ["mode.epochs=1", "sampler=random", "sampler.batch_size=64", "num_workers=0"]


def trained(folder, *words):
    app.train(composed([*NET, *SHORT, *words]), folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch of a method that wraps another one."""
    words = ["dataset=digits_lt", "method=matryoshka", "method@method.params.objective=arcface"]
    return trained(tmp_path_factory.mktemp("run"), *words, "method.params.dims=[8,4]")


def second(run, *words, into="uncertainty"):
    given = ["mode=uncertainty", f"run={run}", "trainer.cpu=true", "trainer.threads=1", *words]
    folder = run / into
    folder.mkdir(exist_ok=True)
    return app.uncertainty(composed(given), folder, given), folder


@pytest.fixture(scope="module")
def fitted(run):
    return second(run, "mode.fit_on=train", "mode.epochs=5", "mode.hidden=[16]")


def test_command_works_in_a_folder_of_its_own_below_the_run():
    from hydra import compose, initialize_config_dir

    from tests.test_configs import CONF

    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["mode=uncertainty", "run=a/b"], return_hydra_config=True)
    assert cfg.hydra.run.dir == "a/b/uncertainty" and "uncertainty" in app.MODES


def test_embeddings_and_predictions_are_those_of_the_run_in_every_bit(run, fitted):
    first, second_run = vmf.load(run, device="cpu"), vmf.load(fitted[1], device="cpu")
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    rows = first.embed(images)
    np.testing.assert_array_equal(second_run.embed(images), rows)
    np.testing.assert_array_equal(second_run.predict(images), first.predict(images))
    assert second_run.confidence_name == "inverse_predicted_loss"
    assert (second_run.confidence(rows) > 0).all()
    assert second_run.class_names == first.class_names
    assert second_run.metrics == first.metrics
    assert second_run.config["method"]["params"]["objective"] == first.config["method"]


def test_the_table_has_the_scores_of_the_validation_split(fitted):
    auroc, folder = fitted
    table = json.loads((folder / "uncertainty.json").read_text())
    run = vmf.load(folder, device="cpu")
    job = assembly.extraction_job(composed(["mode=get_embeddings", f"run={folder}"]), folder, [])
    split = job.dataset.split("valid")
    rows = torch.from_numpy(run.embed(split.batch(torch.arange(len(split)))["examples"]))
    right = run.probabilities(rows).argmax(1) == split.labels
    confidence = torch.from_numpy(run.confidence(rows))
    above = confidence[right][:, None] - confidence[~right]
    slow = float(((above > 0).double() + (above == 0).double() / 2).mean())
    assert table["scored_on"] == "valid" and auroc == table["auroc"] == pytest.approx(slow)
    assert table["accuracy"] == pytest.approx(float(right.double().mean()))


def test_embedding_files_bundles_and_sections_have_the_confidence(fitted, tmp_path):
    folder, cfg = fitted[1], composed(["mode=get_embeddings", f"run={fitted[1]}"])
    (path,) = extract(assembly.extraction_job(cfg, folder, []))
    file, run = load_embeddings(path), vmf.load(folder, device="cpu")
    np.testing.assert_allclose(file.confidence, run.confidence(file.embeddings), rtol=1e-5)
    inside = "method@method.params.objective"
    assert file.meta["objective"][inside] == "matryoshka"
    assert file.meta["objective"][f"{inside}.params.objective"] == "arcface"
    scores = vmf.evaluate(file, metrics=["uncertainty"])["uncertainty"]
    assert 0 <= scores["inverse_predicted_loss/classification/auroc"] <= 1
    run.export(tmp_path / "run.zip")
    again = vmf.load(tmp_path / "run.zip", device="cpu")
    np.testing.assert_array_equal(
        again.confidence(file.embeddings), run.confidence(file.embeddings)
    )


def test_validation_rows_are_scored_on_those_that_were_held_out(run):
    _, folder = second(run, "mode.epochs=2", "mode.form=order", into="valid")
    table = json.loads((folder / "valid.json").read_text())
    job = assembly.extraction_job(composed(["mode=get_embeddings", f"run={run}"]), run, [])
    n = len(job.dataset.split("valid"))
    assert table["scored_on"] == "valid, held out" and table["rows"] == n - int(0.2 * n)


def test_the_same_command_writes_the_same_weights(run, fitted):
    _, again = second(run, "mode.fit_on=train", "mode.epochs=5", "mode.hidden=[16]", into="again")
    states = [checkpoint.load_best(folder)["method_state_dict"] for folder in (fitted[1], again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class Rows:
    """A method whose logits are its embeddings, or draws of them."""

    def __init__(self, draws=None):
        self.draws = draws

    def logits(self, rows):
        return rows if self.draws is None else rows[:, None] + self.draws


def test_losses_are_those_of_the_predictions():
    rows, labels = normal(40, 3), torch.arange(40) % 3
    found = judge(Rows(), rows, labels, 7)
    expected = cross_entropy(rows, labels, reduction="none")
    torch.testing.assert_close(found.losses.double(), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(found.right, rows.argmax(1) == labels)
    draws = normal(5, 3, seed=1)
    p = (rows[:, None] + draws).softmax(-1).mean(1)
    found = judge(Rows(draws), rows, labels, 40)
    expected = -p.log()[torch.arange(40), labels]
    torch.testing.assert_close(found.losses.double(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.probability, p.amax(1))


@pytest.mark.parametrize("form", ("value", "order"))
def test_the_epoch_that_is_best_on_held_out_rows_is_kept_and_orders_new_rows(fitted, form):
    """The losses are a function of the embeddings, whose scale and centre do not matter."""
    method = vmf.load(fitted[1], device="cpu").module
    rows = 100 * normal(600, 8).float() + 50
    losses = (rows[:, 0] / 100).abs()
    every = judge(Rows(), rows, torch.zeros(600, dtype=torch.long), 600)
    every = type(every)(rows, losses, every.right, every.probability)
    first, rest, new = (every.at(torch.arange(600)[part]) for part in (
        slice(300), slice(300, 400), slice(400, 600)))  # fmt: skip
    options = FitOptions(form, 0.1, 0.01, 60, 60, 32)
    seen = []

    def watch(done):
        with torch.no_grad():
            predicted = method.predicted_loss(rest.embeddings)
            seen.append(float(prediction_loss(predicted, rest.losses, form, 0.1)))

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    kept = fit_predictor(method, first, rest, options, generator, watch)
    predicted = method.predicted_loss(rest.embeddings)
    assert len(seen) == 60 and kept == int(np.argmin(seen))
    assert float(prediction_loss(predicted, rest.losses, form, 0.1)) == pytest.approx(min(seen))
    ranks = [
        x.argsort().argsort().double() for x in (method.predicted_loss(new.embeddings), new.losses)
    ]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.8
    assert not any(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mode.fit_on=test"], "mode.fit_on is one of auto, train, valid; got 'test'"),
        (["mode.form=rank"], "mode.form is one of value, order"),
        (["mode.hidden=[0]"], "mode.hidden expects widths"),
        (["mode.margin=-1"], "mode.margin must be >= 0"),
        (["mode.margin=inf"], "mode.margin must be >= 0 and finite"),
        (["mode.batch_size=1"], "mode.batch_size must be >= 2"),
        (["mode.learning_rate=0"], "mode.learning_rate must be > 0"),
        (["mode.epochs=0"], "mode.epochs must be >= 1"),
        (["method=classifier"], "was trained with method=matryoshka"),
        (["run=null"], r"mode=uncertainty builds upon a trained run: add run=FOLDER"),
    ],
)
def test_unusable_commands_are_refused_before_anything_is_embedded(words, message, run):
    with pytest.raises(Refused, match=message):
        second(run, *words, into="refused")


def test_runs_without_classes_and_unknown_classes_are_refused(tmp_path):
    words = ["dataset=digits_open", "method=dml", "criterion=supcon", "mode.epochs=0"]
    open_set = trained(tmp_path, *words)
    with pytest.raises(Refused, match="open set, whose valid split .* use mode.fit_on=train"):
        second(open_set, "mode.fit_on=valid")
    with pytest.raises(Refused, match="method=dml.* predicts no classes"):
        second(open_set)


def test_a_run_that_has_diverged_is_refused(run):
    cfg = composed(["mode=uncertainty", f"run={run}", "trainer.cpu=true", "trainer.threads=1"])
    job = uncertainty_stage.uncertainty_job(cfg, run / "diverged", [])
    job.method.arch.projection.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="losses of the run on valid are NaN or infinite"):
        fit_uncertainty(job)
    assert not (run / "diverged").exists()


def test_a_fit_that_diverges_leaves_no_checkpoint(run):
    with pytest.raises(ValueError, match="no epoch had a finite loss.* smaller mode.learning_rate"):
        second(run, "mode.learning_rate=1e30", "mode.epochs=2", into="diverging")
    assert not list((run / "diverging").glob("*.pt"))
