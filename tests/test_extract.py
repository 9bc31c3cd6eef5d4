"""Embedding files know what their run was trained on, and evaluation groups the classes by it."""

import pytest
from hydra import compose, initialize_config_dir

import vmf_embeddings as vmf
from tests.test_configs import CONF
from vmf_embeddings import extract as extraction
from vmf_embeddings.cli import assembly
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.extract import ExtractionJob, extract
from vmf_embeddings.methods.weights_hash import weights_hash
from vmf_embeddings.progress import Progress
from vmf_embeddings.training import embed
from vmf_embeddings.training.execution import ExecutionSettings

SPEED = ExecutionSettings(
    precision="no", cpu=True, threads=1, channels_last=False, compile=False, data_on_device=False
)


@pytest.fixture(scope="module")
def untrained():
    """A long-tailed data set and a method that has learnt nothing."""
    assembly.register_resolvers()
    said = ["dataset=digits_lt", "method=classifier", "arch=n_digit_mnist"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*said, "arch.params.embedding_dim=4"])
    dataset = assembly.dataset(cfg)
    return dataset, assembly.method(cfg, dataset, pretrained=False)


def extracted(untrained, folder, **said):
    dataset, method = untrained
    checkpoint = {"method_state_dict": method.state_dict(), "epoch": 3, **said}
    job = ExtractionJob(
        method, dataset, checkpoint, ("test",), folder, method_name="classifier", seed=1,
        batch_size=256, num_workers=0, execution=SPEED,
    )  # fmt: skip
    (path,) = extract(job)
    return path


def test_counts_are_those_of_the_training_split_itself(untrained, tmp_path):
    train = untrained[0].split("train")
    path = extracted(untrained, tmp_path, train_identity=train.identity, selected_on="test")
    meta = load_embeddings(path).meta
    assert meta["train_class_counts"] == train.labels.bincount().tolist()
    assert meta["train_identity"] == train.identity
    assert meta["selected_on"] == "test"
    assert meta["prior_removed"] is False
    options = EvaluationOptions(paths=(path,), many_above=60, few_below=10)
    found = score(load_evaluated_file(path, path, options), options).shots
    assert found.train_counts.tolist() == meta["train_class_counts"]
    assert sum(group.n_classes for group in found.groups.values()) == 10


def test_the_weights_are_named_by_their_hash(untrained, tmp_path):
    meta = load_embeddings(extracted(untrained, tmp_path)).meta
    assert meta["weights"] == vmf.Run(untrained[1]).weights_hash
    other = {k: v + 1 for k, v in untrained[1].state_dict().items()}
    assert meta["weights"] not in (weights_hash(other), weights_hash({}))


def test_checkpoints_that_do_not_know_are_of_the_split_of_today(untrained, tmp_path):
    meta = load_embeddings(extracted(untrained, tmp_path)).meta
    assert meta["train_identity"] == untrained[0].split("train").identity
    assert meta["selected_on"] == "valid"


def test_counts_are_unknown_where_the_run_saw_other_pictures(untrained, tmp_path, caplog):
    path = extracted(untrained, tmp_path, train_identity="f" * 64)
    meta = load_embeddings(path).meta
    assert (meta["train_identity"], meta["train_class_counts"]) == ("f" * 64, None)
    assert "trained on other images (ffffffffffff…)" in caplog.text
    options = EvaluationOptions(paths=(path,))
    assert score(load_evaluated_file(path, path, options), options).shots is None


def test_extraction_shows_how_far_it_is(untrained, tmp_path, monkeypatch):
    shown = []

    class Noted(Progress):
        def __exit__(self, *error):
            super().__exit__(*error)
            shown.append((self.what, self.done, self.total))

    for module in (embed, extraction):
        monkeypatch.setattr(module, "Progress", Noted)
    path = extracted(untrained, tmp_path)
    n = len(untrained[0].split("test"))
    n_batches = -(-n // 256)
    assert shown == [
        (f"Embedding {n:,} test images", n_batches, n_batches),
        (f"Writing {path.name}", 0, 1),
    ]
