"""FSGL from its recipe to an embedding file, and the words it asks for, in this process."""

from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.extract import extract
from vmf_embeddings.methods.arcface import ArcFace
from vmf_embeddings.methods.fsgl import FSGL
from vmf_embeddings.samplers.paired import PairedSampler
from vmf_embeddings.samplers.random import RandomSampler
from vmf_embeddings.training.fit import fit


def composed(*overrides):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, "num_workers=0"])


@pytest.mark.parametrize(
    ("method", "sampler", "views", "words"),
    (
        (FSGL, RandomSampler, 1, "add sampler=paired dataset.params.views=2 to the command"),
        (FSGL, PairedSampler, 1, "add dataset.params.views=2 to the command"),
        (FSGL, RandomSampler, 2, "add sampler=paired to the command"),
        (ArcFace, PairedSampler, 2, "method=arcface trains on 1 view of every image; add dataset."),
    ),
)
def test_other_batches_are_refused_with_the_words_to_type(method, sampler, views, words):
    with pytest.raises(assembly.Refused, match=words):
        assembly.refuse_other_batches(object.__new__(method), sampler, SimpleNamespace(views=views))


def test_scaling_is_the_default_of_fsgl_alone():
    assert composed("method=classifier").feature_scaling.name == "none"
    assert composed("method=fsgl").feature_scaling.name == "logfreq"
    assert composed("method=fsgl", "feature_scaling=none").feature_scaling.name == "none"


def test_the_recipe_trains_and_extracts_what_the_trained_classifier_says(tmp_path):
    cfg = composed("experiment=digits_lt_fsgl", "mode.epochs=2")
    job = assembly.training_job(cfg, tmp_path)
    fit(job)
    method = job.method
    assert method.alpha == 0.75
    scaling = method.feature_scaling.class_factors
    assert scaling[0] == 1.5 and scaling[-1] == 1
    again = composed("mode=get_embeddings", f"run={tmp_path}", "split=test")
    extract(assembly.extraction_job(again, tmp_path, []))
    (path,) = tmp_path.glob("*_test.npz")
    with np.load(path, allow_pickle=False) as data:
        wanted = data["embeddings"] @ data["weights"].T
        bias = data["logits"] - wanted
    np.testing.assert_allclose(bias, np.broadcast_to(bias[:1], bias.shape), atol=1e-4)
