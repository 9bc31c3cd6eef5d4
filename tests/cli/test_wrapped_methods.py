"""The method that another one wraps, named in one word on the command line."""

import pytest

from vmf_embeddings.cli import overrides
from vmf_embeddings.cli.wrapped_methods import spelled_out


def composed(*typed: str):
    return overrides.composed(overrides.quoted(list(typed)))


def test_a_method_is_named_as_a_value_and_its_parameters_can_be_set():
    cfg = composed(
        "method=matryoshka",
        "method.params.objective=vmf_softmax",
        "method.params.objective.params.n_samples=4",
        "method.params.dims=[64,16]",
    )
    assert cfg.method.params.objective.name == "vmf_softmax"
    assert cfg.method.params.objective.params.n_samples == 4
    assert list(cfg.method.params.dims) == [64, 16]


def test_a_criterion_stands_for_dml_with_it():
    cfg = composed("method=matryoshka", "method.params.objective=margin", "miner=distance")
    assert cfg.method.params.objective.name == "dml"
    assert (cfg.criterion.name, cfg.miner.name) == ("margin", "distance")


def test_a_student_is_named_in_the_same_way_as_in_the_longer_one():
    short, long = (
        composed("method=dive", f"{key}=arcface").method
        for key in ("method.params.student", "method@method.params.student")
    )
    assert short == long


def test_several_names_are_a_sweep_and_other_arguments_stay():
    assert spelled_out(["method.params.objective=arcface,normalized_sce"]) == [
        "method@method.params.objective=arcface,normalized_sce"
    ]
    others = ["method.params.dims=[8]", "+method.params.objective.x=1", "method.params.objective="]
    assert spelled_out(others) == others


def test_an_unknown_name_is_answered_with_a_similar_one():
    typed = overrides.quoted(["method=matryoshka", "method.params.objective=arcfase"])
    with pytest.raises(Exception) as error:
        overrides.composed(typed)
    assert "arcface" in overrides.explain(error.value, typed)
