"""An embedding file records the options of its method, and the parameters that were changed."""

import pytest

from tests.test_configs import composed
from vmf_embeddings.cli.assembly.objective import objective

OPTIONS = {"criterion": "proxy_anchor", "miner": "none"}


@pytest.mark.parametrize(
    ("words", "wanted"),
    (
        ("method=nir", OPTIONS),
        ("method=nir mode.learning_rate=1 random_seed=3 method.params.w_flow=1", OPTIONS),
        (
            "method=nir method.params.flow_objective=nll method.params.flow.cond_mode=none",
            OPTIONS
            | {"method.params.flow_objective": "nll", "method.params.flow.cond_mode": "none"},
        ),
        ("experiment=cub200_nir_control", OPTIONS | {
            "method.params.w_align": 0.0075, "method.params.w_flow": 0.0,
            "method.params.flow_lr_factor": 50.0}),
        ("method=dml criterion=margin miner=distance criterion.params.beta=0.6", {
            "criterion": "margin", "miner": "distance", "criterion.params.beta": 0.6}),
        ("method=dml criterion=s2sd", {"criterion": "s2sd", "miner": "none"}),
        ("method=dml criterion=s2sd criterion@criterion.params.source=margin "
         "criterion.params.source.params.beta=0.6 criterion.params.target_dims=[8]", {
            "criterion": "s2sd", "miner": "none",
            "criterion@criterion.params.source": "margin",
            "criterion.params.source.params.beta": 0.6, "criterion.params.target_dims": [8]}),
        ("method=pml method.params.loss={class:NTXentLoss,temperature:0.2}", {
            "method.params.loss": {"class": "NTXentLoss", "temperature": 0.2}}),
        ("method=arcface", None),
        # another seed of the teacher is another replication
        ("method=dive method.params.teacher=runs/one", {
            "head": "linear", "loss": "balanced_softmax"}),
        ("method=dive method@method.params.student=normalized_sce", {
            "method@method.params.student": "normalized_sce"}),
    ),
)  # fmt: skip
def test_options_and_the_parameters_that_differ_from_their_files(words, wanted):
    assert objective(composed(words.split())) == wanted


def test_its_words_compose_to_the_same_again():
    words = "experiment=sop_nir criterion=soft_triple criterion.params.n_centres=3".split()
    found = objective(composed(words))
    again = ["method=nir", *(f"{key}={value}" for key, value in found.items())]
    assert objective(composed(again)) == found
