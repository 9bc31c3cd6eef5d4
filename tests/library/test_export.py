"""Exported graphs compute what the run does, in any batch, and describe it."""

import json

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.library.test_run import GREY, IMAGES, NAMES, optional, saved_run
from vmf_embeddings import catalogue
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.library import export_graph

INPUTS = torch.stack([GREY(image) for image in IMAGES])
COLOUR = ImageTransform(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
QUICK = {"hyperbolic_sce", "vmf_softmax"}  # the others are alike
ARCHS = ("resnet18", "timm", "resnet32")


def loaded(folder, *typed, transform=GREY) -> vmf.Run:
    saved_run(folder, *typed, transform=transform)
    return vmf.load(folder, device="cpu")


def in_onnxruntime(path, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()}), session


METHODS = [
    *sorted(QUICK),
    *(
        pytest.param(*getattr(name, "values", [name]), marks=pytest.mark.slow)
        for name in optional([n for n in catalogue.names("method") if n not in QUICK])
    ),
]


@pytest.mark.parametrize("name", METHODS)
def test_onnx_gives_the_embeddings_and_probabilities_of_every_method(name, tmp_path):
    pytest.importorskip("onnx")
    run = loaded(tmp_path, f"method={name}", "arch.params.embedding_dim=5")
    predict = run.n_classes is not None
    written = run.export(tmp_path / "net.onnx", predict=predict)
    assert written.inputs == {"images": ("batch", 1, 28, 28)}
    assert 0 <= written.largest_difference < 1e-4
    for n in (1, 2, 5):
        outputs, _ = in_onnxruntime(written.path, INPUTS[:n])
        np.testing.assert_allclose(outputs[0], run.embed(IMAGES[:n]), rtol=1e-4, atol=1e-5)
        if predict:
            assert outputs[1].shape == (n, run.n_classes)
            np.testing.assert_allclose(outputs[1].sum(1), 1, rtol=1e-5)
    if predict and name != "vmf_softmax":
        np.testing.assert_allclose(outputs[1], run.predict(IMAGES), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name", [ARCHS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in ARCHS[1:])]
)
def test_archs_become_graphs_for_any_batch(name, tmp_path):
    pytest.importorskip("timm" if name == "timm" else "torch")
    run = loaded(tmp_path, f"arch={name}", transform=COLOUR)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 32, 3), dtype=np.uint8)
    inputs = torch.stack([COLOUR(image) for image in images])
    run.export(tmp_path / "net.pt2")
    with (tmp_path / "net.pt2").open("rb") as stream:
        module = torch.export.load(stream).module()
    for n in (1, 3):
        (embeddings,) = module(inputs[:n])
        np.testing.assert_allclose(embeddings.detach(), run.embed(images[:n]), rtol=1e-4, atol=1e-5)


def test_the_probabilities_of_vmf_are_those_of_the_expected_logits(tmp_path):
    """With sure distributions there is nothing to draw: both are the same."""
    method = saved_run(tmp_path, "method=vmf_softmax", "arch.params.embedding_dim=3")
    z = 1e6 * torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    with torch.no_grad():
        method.class_parameters.weight.mul_(1e7)
        drawn, expected = method.predict(z), method.predict_without_draws(z)
    torch.testing.assert_close(drawn, expected, rtol=1e-2, atol=1e-3)


def test_the_file_says_what_it_is(tmp_path):
    pytest.importorskip("onnx")
    run = loaded(tmp_path, "method=arcface")
    run.export(tmp_path / "net.onnx", batch=2)
    (embeddings,), session = in_onnxruntime(tmp_path / "net.onnx", INPUTS[:2])
    assert session.get_inputs()[0].shape == [2, 1, 28, 28]
    assert [one.name for one in session.get_outputs()] == ["embeddings"]
    stated = session.get_modelmeta().custom_metadata_map
    assert json.loads(stated["class_names"]) == NAMES
    assert json.loads(stated["geometry"]) == {"name": "cosine"}
    assert ImageTransform.from_meta(json.loads(stated["image_transform"])) == GREY
    assert "probabilities" not in stated
    assert "config" not in stated  # which names folders of the machine that trained


def test_nothing_is_written_that_computes_something_else(tmp_path, monkeypatch):
    run = loaded(tmp_path / "run")
    path = tmp_path / "net.pt2"
    path.write_bytes(b"as it was")
    wrong = lambda _: lambda inputs: [np.ones((len(inputs), run.embedding_dim))]  # noqa: E731
    monkeypatch.setattr(export_graph, "_run_of_pt2", wrong)
    with pytest.raises(RuntimeError, match="differ from those of torch"):
        run.export(path)
    assert path.read_bytes() == b"as it was"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["net.pt2", "run"]


def test_missing_packages_are_named(tmp_path, monkeypatch):
    run = loaded(tmp_path)
    monkeypatch.setattr(export_graph, "_NEEDED", ("onnx_of_nobody",))
    with pytest.raises(ImportError, match="pip install onnx_of_nobody"):
        run.export(tmp_path / "net.onnx")


def test_a_network_that_is_no_graph_says_why(tmp_path):
    run = loaded(tmp_path)
    embed = run.module.embed
    run.module.embed = lambda x: embed(x) * (2 if float(x.sum()) > 0 else 1)
    with pytest.raises(ValueError, match=r"cannot be written as \.pt2.*--batch 1.*\.zip"):
        run.export(tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("net.pth", {}, "expected a file .onnx, .pt2, .zip, got .pth"),
        ("net", {}, "got no ending"),
        ("a.zip", {"predict": True}, "a bundle has everything"),
        ("a.pt2", {"batch": 0}, "batch: expected at least 1"),
    ],
)
def test_mistakes_are_named(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path).export(tmp_path / name, **options)


def test_without_classes_there_is_nothing_to_predict(tmp_path):
    with pytest.raises(ValueError, match="predicts no classes"):
        loaded(tmp_path, "method=dml", "criterion=triplet").export(tmp_path / "a.pt2", predict=True)
