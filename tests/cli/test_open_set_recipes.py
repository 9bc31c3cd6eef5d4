"""Recipes of ones own data and of open sets start von Mises-Fisher methods sure enough."""

import pytest
from omegaconf import OmegaConf

from tests.cli.test_second_stage import composed
from vmf_embeddings.cli import assembly

OPEN = ("digits_open", "mnist_open", "own_open")
KEPT = {"cub200": 0.7, "cars196": 0.7, "sop": 0.7, "cifar100": 0.4, "mnist": 0.4}


@pytest.mark.parametrize("experiment", OPEN)
@pytest.mark.parametrize("method", ("vmf_softmax", "elk", "nivmf"))
def test_open_sets_choose_the_start_and_what_is_typed_counts(experiment, method):
    words = [f"experiment={experiment}", f"method={method}"]
    params = composed(words).arch.params
    assert params.kappa_confidence == "auto" and not params.normalize
    assert params.learn_temp is (method == "vmf_softmax")
    typed = composed([*words, "arch.params.kappa_confidence=0.7", "arch.params.learn_temp=False"])
    assert (typed.arch.params.kappa_confidence, typed.arch.params.learn_temp) == (0.7, False)


def test_a_closed_set_of_ones_own_starts_sure_too():
    """Its optimizer takes steps with which concentrations hardly grow."""
    params = composed(["experiment=own_closed", "method=vmf_softmax"]).arch.params
    assert (params.kappa_confidence, params.learn_temp, params.init_temp) == (0.9, True, -2.773)


@pytest.mark.parametrize("experiment", OPEN[:2])
def test_other_methods_keep_their_unit_vectors(experiment):
    params = composed([f"experiment={experiment}"]).arch.params
    assert params.normalize and params.kappa_confidence == 0.4


CHANGED = {
    ("digits_open", "poincare_pairs"): ("arch.params.normalize", False, True),
    ("mnist_open", "poincare_pairs"): ("arch.params.normalize", False, True),
    ("digits_open", "roadmap"): ("criterion.params.calibration_weight", 0.0, 2.0),
    ("digits_open", "cider"): ("criterion.params.momentum", 0.5, 0.9),
}


@pytest.mark.parametrize(("names", "change"), CHANGED.items(), ids=str)
def test_criteria_have_the_options_that_were_measured_and_what_is_typed_counts(names, change):
    words = [f"experiment={names[0]}", f"criterion={names[1]}"]
    key, value, typed = change
    assert OmegaConf.select(composed(words), key) == value
    assert OmegaConf.select(composed([*words, f"{key}={typed}"]), key) == typed


@pytest.mark.parametrize(("name", "confidence"), KEPT.items())
def test_recipes_of_2021_keep_their_numbers(name, confidence):
    params = composed([f"experiment={name}_vmf_softmax"]).arch.params
    assert params.kappa_confidence == confidence


@pytest.mark.parametrize("method", ("vmf_softmax", "elk", "nivmf"))
def test_the_job_starts_there(method, tmp_path):
    job = assembly.training_job(composed(["experiment=digits_open", f"method={method}"]), tmp_path)
    status = job.method.status()
    assert status["kappa_max"] == pytest.approx(status["kappa_min"], rel=1e-4)
    assert status.get("spread_cost", 0.0) < 1.1e-4
    assert job.method.confidences.classes > 0.94
