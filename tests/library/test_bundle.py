"""A bundle is the run that was exported, and one from a stranger is data."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.library.test_run import GREY, IMAGES, NAMES, digests, optional, saved_run
from vmf_embeddings import catalogue
from vmf_embeddings.library.bundle import read_bundle
from vmf_embeddings.training import checkpoint
from vmf_embeddings.untrusted.refused import Refused


@pytest.mark.parametrize("name", optional(catalogue.names("method")))
def test_a_bundle_is_the_run_wherever_it_lies(name, tmp_path, monkeypatch):
    saved_run(tmp_path / "run", f"method={name}", "arch.params.embedding_dim=5")
    run = vmf.load(tmp_path / "run", device="cpu")
    before = digests(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run.export(elsewhere / "sent.zip")
    assert digests(tmp_path / "run") == {k[4:]: v for k, v in before.items()}
    monkeypatch.chdir(elsewhere)
    sent = vmf.load("sent.zip", device="cpu")
    np.testing.assert_array_equal(sent.embed(IMAGES), run.embed(IMAGES))
    if run.n_classes is not None:
        np.testing.assert_array_equal(sent.predict(IMAGES), run.predict(IMAGES))
    assert (sent.config, sent.metrics, sent.class_names) == (run.config, run.metrics, NAMES)
    assert (sent.transform, sent.geometry) == (GREY, run.geometry)
    assert [path.name for path in elsewhere.iterdir()] == ["sent.zip"]


def test_the_same_run_gives_the_same_bytes(tmp_path):
    saved_run(tmp_path)
    run = vmf.load(tmp_path)
    for name in ("a.zip", "b.zip"):
        run.export(tmp_path / name)
    contents = [(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip")]
    assert contents[0].replace(b"a.zip", b"b.zip")[:30] == contents[1][:30]
    assert read_bundle(tmp_path / "a.zip")["config"] == read_bundle(tmp_path / "b.zip")["config"]


def test_a_bundle_of_a_bundle_is_equal(tmp_path):
    saved_run(tmp_path)
    vmf.load(tmp_path).export(tmp_path / "a.zip")
    (tmp_path / "again").mkdir()
    vmf.load(tmp_path / "a.zip").export(tmp_path / "again" / "a.zip")
    assert (tmp_path / "again" / "a.zip").read_bytes() == (tmp_path / "a.zip").read_bytes()


def test_a_transform_of_ones_own_is_given_again(tmp_path):
    saved_run(tmp_path, transform=None)
    vmf.load(tmp_path, transform=lambda image: GREY(image)).export(tmp_path / "a.zip")
    with pytest.raises(ValueError, match="give transform= to vmf.load"):
        vmf.load(tmp_path / "a.zip").embed(IMAGES)
    sent = vmf.load(tmp_path / "a.zip", transform=GREY)
    assert sent.embed(IMAGES).shape[0] == len(IMAGES)


def changed(source, target, **parts):
    """A copy with other parts; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()} | parts
        for name, content in contents.items():
            if content is not None:
                new.writestr(name, content)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    vmf.load(folder).export(folder / "a.zip")
    return folder / "a.zip"


def values(bundle, **keys) -> bytes:
    with zipfile.ZipFile(bundle) as archive:
        return json.dumps(json.loads(archive.read("run.json")) | keys).encode()


def of_pickle() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream)
    return stream.getvalue()


HOSTILE = {
    "a part too many": (lambda b: {"../x.py": b"print(1)"}, "expected the parts"),
    "a part too few": (lambda b: {"README.txt": None}, "expected the parts"),
    "weights by pickle": (lambda b: {"weights.safetensors": of_pickle()}, "is no .safetensors"),
    "weights that claim more": (
        lambda b: {"weights.safetensors": (2**60).to_bytes(8, "little") + b"{}"},
        "header claims",
    ),
    "no JSON": (lambda b: {"run.json": b"\xff"}, "is not UTF-8"),
    "a later schema": (lambda b: {"run.json": values(b, schema=9)}, "schema 9"),
    "no configuration": (lambda b: {"run.json": values(b, config=None)}, "states no schema"),
    "names of too many classes": (
        lambda b: {"run.json": values(b, class_names=["x"] * 99)},
        "names 99 classes",
    ),
    "a huge transform": (
        lambda b: {"run.json": values(b, image_transform={**GREY.to_meta(), "size": [10**6, 9]})},
        "size must be",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bundle_of_a_stranger_is_checked(kind, bundle, tmp_path):
    make, message = HOSTILE[kind]
    changed(bundle, tmp_path / "b.zip", **make(bundle))
    with pytest.raises(ValueError, match=message):
        vmf.load(tmp_path / "b.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


def test_its_configuration_builds_nothing_outside_the_list(bundle, tmp_path):
    config = json.loads(read_bundle(bundle)["config"])
    config["arch"]["params"]["_target_"] = "os.system"
    changed(bundle, tmp_path / "b.zip", **{"run.json": values(bundle, config=config)})
    with pytest.raises(ValueError, match="may not be built"):
        vmf.load(tmp_path / "b.zip")


def test_a_bomb_is_refused_before_it_is_unpacked(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(tmp_path / "b.zip", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, b"0" * 10**7)
    with pytest.raises(Refused, match="compressed or encrypted"):
        vmf.load(tmp_path / "b.zip")


def test_a_cut_bundle_and_other_zips_are_named(bundle, tmp_path):
    (tmp_path / "cut.zip").write_bytes(bundle.read_bytes()[:-100])
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("cut.zip", "empty.zip"):
        with pytest.raises(Refused, match=f"{name} is no bundle"):
            vmf.load(tmp_path / name)


@pytest.mark.parametrize("name", ["unnormalized_sce", "vmf_softmax"])
def test_a_checkpoint_of_2021_becomes_a_bundle(name, tmp_path):
    typed = [f"method={name}", "arch.params.embedding_dim=5"]
    method = saved_run(tmp_path / "a", *typed)
    layers = {layer: place for place, layer in type(method.arch).reference_layers.items()}
    own = method.arch.state_dict()
    state = {f"encoder.{layers[k.split('.')[0]]}.{k.partition('.')[2]}": v for k, v in own.items()}
    state["encoder.13.weight"] = method.class_weights.detach()
    if name == "vmf_softmax":
        state["tau"] = method.class_parameters.tau.detach()
    old = {"epoch": 9, "arch_state_dict": state, "z_kappa_mult": 1.5}
    checkpoint.save(tmp_path / "model_9.pt", old)
    run = vmf.load(tmp_path / "model_9.pt", overrides=typed, transform=GREY, device="cpu")
    run.export(tmp_path / "old.zip")
    sent = vmf.load(tmp_path / "old.zip", device="cpu")
    np.testing.assert_array_equal(sent.embed(IMAGES), run.embed(IMAGES))
    assert sent.transform == GREY and sent.metrics["epoch"] == 9
