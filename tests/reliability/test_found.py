"""What the trials of this folder found once, each as a case of its own."""

import io
import zipfile

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.reliability.test_configurations import composed
from tests.reliability.test_embedding_files import run_in_process
from vmf_embeddings.cli import assembly, overrides
from vmf_embeddings.cli.assembly.optimizer_errors import checked_optimizer
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings
from vmf_embeddings.embeddings.writing import write
from vmf_embeddings.training.checkpoint import refuse_other_images
from vmf_embeddings.training.optimizers import sgd
from vmf_embeddings.training.settings import TrainingSettings
from vmf_embeddings.training.stored_state import refuse_other_types

SHORT_NAMES = EmbeddingFile(np.eye(3), np.arange(3), meta={"class_names": ["a", "b"]})


def test_check_names_class_names_that_lack_a_class(tmp_path):
    path = tmp_path / "toy_test.npz"
    save_embeddings(path, SHORT_NAMES)
    code, output, _ = run_in_process("check", path)
    assert code == 1
    assert "class_names of meta has 2 names, and ids go up to 2" in output


def test_class_names_that_lack_a_class_cannot_be_written_as_labels(tmp_path):
    with pytest.raises(ValueError, match="class_names of meta has 2 names, and ids go up to 2"):
        write(SHORT_NAMES, tmp_path / "rows.npy")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_with_impossible_offsets_is_called_damaged(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, embeddings=np.eye(3), ids=np.arange(3))
    data = bytearray(stream.getvalue())
    end = data.rfind(b"PK\x05\x06")
    data[end + 16 : end + 20] = (2**31).to_bytes(4, "little")  # where the directory begins
    path = tmp_path / "toy_test.npz"
    path.write_bytes(data)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match="toy_test.npz cannot be read .* is damaged"):
        load_embeddings(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "arch.params.n_classes",
            "ten",
            "^arch.params=.*n_classes: expected a whole number or null",
        ),
        ("method.params.extra", 3, r"method.params=\{.*extra: 3.*\} cannot be used: "),
    ],
)
def test_unusable_values_of_a_stored_configuration_are_named_with_their_group(key, value, words):
    cfg = composed("dataset=digits", "method=normalized_sce", "arch.params.use_vmf=False")
    OmegaConf.update(cfg, key, value, force_add=True)
    with assembly.refusals():
        data = assembly.dataset(cfg)
    with pytest.raises(assembly.Refused, match=words):
        assembly.method(cfg, data, pretrained=False)


def test_null_in_the_place_of_a_number_of_a_stored_state_is_refused():
    with pytest.raises(assembly.Refused, match="unfit: the stored best is null, expected a number"):
        refuse_other_types({"best": None, "min_lrs": None}, {"best": 0.5, "min_lrs": [0]}, "unfit")


def test_a_checkpoint_without_the_identity_of_its_images_resumes(tmp_path):
    refuse_other_images(tmp_path, {"train_identity": None}, "cafe", "name=other")
    with pytest.raises(ValueError, match="other images"):
        refuse_other_images(tmp_path, {"train_identity": "beef"}, "cafe", "name=other")


def test_a_group_that_is_given_null_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train"])
    with pytest.raises(assembly.Refused, match=r"arch=null: a group takes the name of one"):
        overrides.composed(["arch=null"])


def test_text_in_the_place_of_a_number_of_the_settings_is_named():
    config = OmegaConf.to_container(composed("dataset=digits", "mode.epochs=1"), resolve=True)
    config["mode"]["patience"] = "ten"
    with pytest.raises(ValueError, match="mode.patience must be at least 1, got ten"):
        TrainingSettings.from_config(config)


def test_text_in_the_place_of_a_number_of_the_optimizer_is_named():
    node = OmegaConf.create({"name": "sgd", "params": {"momentum": ""}})

    def make(groups):
        return sgd(groups, lr=0.1, momentum="", nesterov=False, weight_decay=0.0, fused=False)

    with pytest.raises(assembly.Refused, match="^optimizer.params.momentum='': expected numbers"):
        checked_optimizer(make, node)
