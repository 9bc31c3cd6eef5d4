"""Every objective, criterion, sampler and second stage works on feature vectors as on images."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.quick_cases import mostly_slow
from vmf_embeddings import catalogue
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.extract import extract
from vmf_embeddings.untrusted.refused import Refused

N, F, D = 300, 64, 8
NAMES = np.array("zero one two three four five six seven eight nine".split())
SHORT = (
    *("dataset=features", "arch=linear", f"arch.params.embedding_dim={D}", "optimizer=adam"),
    *("schedule=constant", "mode.epochs=1", "mode.learning_rate=0.001", "num_workers=0"),
    *("trainer.cpu=true", "trainer.threads=1"),
)
MISSING = {"pml"} if find_spec("pytorch_metric_learning") is None else set()
WITH_IMAGES = {"fsgl"}  # its batches are mixed images
# vectors have no other
ONE_VIEW = dict.fromkeys(("bcl", "paco", "proco"), ["method.params.views=1"])
CLASSIFIER = ("method=classifier", "sampler=random", "sampler.batch_size=64")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """300 of scikit-learn's digits: the 64 grey values of each, not as an image but as a vector."""
    digits = load_digits()
    file = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(file, features=digits.data[:N].astype(np.float32), y=NAMES[digits.target[:N]])
    return file


@pytest.fixture(scope="module")
def classifier(path, tmp_path_factory):
    """A trained linear classifier, for what builds upon a run."""
    folder = tmp_path_factory.mktemp("classifier")
    trained(path, folder, *CLASSIFIER)
    return folder


def trained(path: Path, folder: Path, *words: str) -> float:
    """Trains as the command does; the validation metric of the best epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    app.train(composed([*SHORT, f"dataset.params.dataset_path={path}", *words]), folder)
    (line, *_) = (folder / "metrics.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert np.isfinite(record["train_loss"])
    return record["valid_metric"]


METHODS = sorted(set(catalogue.names("method")) - WITH_IMAGES - MISSING)
LIKE_OTHERS = {"arcface", "unnormalized_sce", "normalized_sce", "matryoshka"}


@pytest.mark.parametrize("name", mostly_slow(METHODS, set(METHODS) - LIKE_OTHERS))
def test_every_method_trains_extracts_and_is_used_on_vectors(name, path, classifier, tmp_path):
    words = [f"method={name}", "sampler=m_per_class", "sampler.batch_size=20"]
    words += ONE_VIEW.get(name, [])
    words += [f"method.params.teacher={classifier}"] if name == "dive" else []
    assert 0 <= trained(path, tmp_path, *words) <= 1
    cfg = composed(["mode=get_embeddings", f"run={tmp_path}", "trainer.cpu=true"])
    job = assembly.extraction_job(cfg, tmp_path, [])
    file = load_embeddings(*extract(job))
    assert file.examples is None and file.pictures is None
    run = vmf.load(tmp_path, device="cpu")
    rows = job.dataset.split("test").batch(torch.arange(len(file.ids)))["examples"]
    np.testing.assert_allclose(run.embed(rows.numpy()), file.embeddings, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(run.embed(rows), run.embed(rows.numpy().astype(np.float64)))
    assert run.class_names == sorted(NAMES)
    if run.n_classes is not None:
        assert run.predict(rows).shape == (len(rows), 10)


QUICK_CRITERIA = ("margin", "multisimilarity_nir", "proxy_anchor", "s2sd", "softmax", "triplet")


@pytest.mark.parametrize("name", mostly_slow(catalogue.names("criterion"), QUICK_CRITERIA))
def test_every_criterion_trains_on_vectors(name, path, tmp_path):
    words = ["method=dml", f"criterion={name}", "sampler=m_per_class"]
    assert 0 <= trained(path, tmp_path, *words, "sampler.batch_size=20") <= 1


SAMPLERS = sorted(set(catalogue.names("sampler")) - {"meta", "paired"})
QUICK_SAMPLERS = ("class_aware", "d2_coreset", "disthist_batchmatch", "episodic", "progressive")


@pytest.mark.parametrize("name", mostly_slow(SAMPLERS, QUICK_SAMPLERS))
def test_every_sampler_draws_vectors(name, path, tmp_path):
    sizes = {"m_per_class": 20, "episodic": None}
    size = sizes.get(name, 24)
    words = ["sampler.n_episodes=5"] if size is None else [f"sampler.batch_size={size}"]
    words += ["sampler.pool_size=48"] if "coreset" in name or "batchmatch" in name else []
    trained(path, tmp_path, "method=vmf_softmax", f"sampler={name}", *words)


QUICK_LOSSES = ("ce", "ib", "ldam", "logit_adjustment")


@pytest.mark.parametrize("loss", mostly_slow(catalogue.names("loss"), QUICK_LOSSES))
def test_every_loss_trains_on_vectors(loss, path, tmp_path):
    head = ["head=cosine"] if loss == "ldam" else ["feature_scaling=logfreq"]
    trained(path, tmp_path, *CLASSIFIER, f"loss={loss}", *head)


@pytest.mark.parametrize("arch", ("identity", "linear", "mlp"))
def test_every_network_on_vectors_says_in_its_run_how_long_they_are(arch, path, tmp_path):
    words = ["arch.params.embedding_dim=null"] if arch == "identity" else []
    trained(path, tmp_path, *CLASSIFIER, f"arch={arch}", *words)
    run = vmf.load(tmp_path, device="cpu")
    assert run.config["arch"]["params"]["in_features"] == F
    assert run.config["arch"]["params"]["embedding_dim"] == (F if arch == "identity" else D)
    assert run.embed(np.zeros((3, F), dtype=np.float32)).shape == (3, run.embedding_dim)
    with pytest.raises(ValueError, match=r"takes vectors \[B, 64\], got \[3, 9\]"):
        run.embed(np.zeros((3, 9), dtype=np.float32))


STAGES = {
    **dict.fromkeys(("tau_norm", "maxnorm", "ncm", "vmf_bayes", "posthoc_tau"), app.posthoc),
    **dict.fromkeys(("finetune", "crt", "lws"), app.finetune),
}


@pytest.mark.parametrize("mode", [*STAGES, "meta"])
def test_every_second_stage_works_on_vectors(mode, classifier, tmp_path):
    words = [f"mode={mode}", f"run={classifier}", "trainer.cpu=true", "trainer.threads=1"]
    if mode == "meta":
        words[0] = "mode=finetune"
        words += ["sampler=meta", "method=classifier", "loss=balanced_softmax", "optimizer=sgd"]
        words += ["sampler.batch_size=64", "sampler.meta_batch_size=32"]
    elif mode in ("finetune", "crt", "lws"):
        words += ["sampler.batch_size=64"]
    words += ["mode.epochs=1"] if STAGES.get(mode, app.finetune) is app.finetune else []
    command = STAGES.get(mode, app.finetune)
    metric = command(composed(words), tmp_path, [word for word in words if "params" in word])
    assert 0 <= metric <= 1
    assert vmf.load(tmp_path).embed(np.zeros((2, F), dtype=np.float32)).shape == (2, D)


def test_a_long_tail_of_vectors_trains(path, tmp_path):
    words = ["dataset=long_tailed", "dataset@dataset.params.of=features"]
    words += [f"dataset.params.of.params.dataset_path={path}", "dataset.params.imbalance_factor=5"]
    words += ["dataset.params.of.params.standardize=true", *CLASSIFIER]
    given = [word for word in SHORT if word != "dataset=features"]
    app.train(composed([*given, *words]), tmp_path)
    state = vmf.load(tmp_path).module.arch.state_dict()
    assert state["input_mean"].abs().sum() > 0


def test_what_needs_images_is_refused_and_says_why(path, tmp_path):
    def refused(*words: str) -> str:
        data = [] if "dataset=digits" in words else [f"dataset.params.dataset_path={path}"]
        with pytest.raises(Refused) as error:
            app.train(composed([*SHORT, *data, *words]), tmp_path)
        return str(error.value)

    assert "2 views of every image, and dataset=features makes one only" in refused("method=fsgl")
    net = refused("arch=resnet18")
    assert "takes images, and dataset=features has vectors of 64 numbers: add arch=mlp" in net
    other = refused("dataset=digits")
    assert "arch=linear takes feature vectors, and dataset=digits has images (1, 28, 28)" in other
    length = refused("arch.params.in_features=63")
    assert "in_features=63, but the vectors of dataset=features have 64 numbers" in length
    assert "arch=identity hands on its 64 features" in refused("arch=identity")
    of = ["dataset=long_tailed", "dataset@dataset.params.of=features", "dataset.params.views=2"]
    of += [f"dataset.params.of.params.dataset_path={path}", "method=fsgl", "sampler=paired"]
    of += ["dataset.params.imbalance_factor=5"]
    given = [word for word in SHORT if word != "dataset=features"]
    with pytest.raises(Refused, match="feature vectors are not augmented"), assembly.refusals():
        app.train(composed([*given, *of]), tmp_path)
    nothing = ["arch=identity", "arch.params.embedding_dim=null", "sampler=m_per_class"]
    nothing += ["sampler.batch_size=20", "method=dml", "criterion=contrastive"]
    assert "nothing learns" in refused(*nothing)


def test_a_wide_hidden_layer_loads_again(path, tmp_path):
    trained(path, tmp_path, *CLASSIFIER, "arch=mlp", "arch.params.hidden=[12000]")
    assert vmf.load(tmp_path).module.arch.n_features == 12_000


def test_features_of_another_model_are_no_input_of_a_trained_network(path, classifier, tmp_path):
    np.savez(tmp_path / "b.npz", x=np.random.rand(60, 9), y=np.arange(60) % 10)
    typed = [f"dataset.params.dataset_path={tmp_path / 'b.npz'}"]
    cfg = composed(["mode=get_embeddings", f"run={classifier}", "dataset=features", *typed])
    with pytest.raises(Refused, match=r"vectors of 9 numbers of dataset=features: .*\[B, 64\]"):
        assembly.extraction_job(cfg, classifier, typed)


def test_an_interrupted_training_on_vectors_goes_on_bit_by_bit(path, tmp_path):
    words = ["arch=mlp", "arch.params.dropout=0.3", "method=vmf_softmax", "sampler=random"]
    words += ["dataset.params.standardize=true", "sampler.batch_size=64"]
    for folder, epochs in (("parts", 1), ("parts", 2), ("whole", 2)):
        trained(path, tmp_path / folder, *words, f"mode.epochs={epochs}")
    parts, whole = (
        torch.load(tmp_path / folder / "last.pt", weights_only=True)["method_state_dict"]
        for folder in ("parts", "whole")
    )
    assert all(torch.equal(parts[key], whole[key]) for key in whole)


def test_standardized_vectors_are_those_of_the_training_rows(path, tmp_path):
    trained(path, tmp_path, *CLASSIFIER, "dataset.params.standardize=true")
    cfg = composed(["mode=get_embeddings", f"run={tmp_path}", "trainer.cpu=true"])
    train = assembly.extraction_job(cfg, tmp_path, []).dataset.split("train")
    rows = train.batch(torch.arange(len(train)))["examples"]
    arch = vmf.load(tmp_path).module.arch
    torch.testing.assert_close(arch.input_mean, rows.mean(0))
    moved = arch.features(rows)
    torch.testing.assert_close(moved.mean(0), torch.zeros(F), atol=1e-5, rtol=0)
    varied = rows.std(0) > 0
    torch.testing.assert_close(moved.std(0, correction=0)[varied], torch.ones(int(varied.sum())))
