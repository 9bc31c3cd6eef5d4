"""A trained run without its data: loaded for every method and arch, from another folder."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf, open_dict
from PIL import Image

import vmf_embeddings as vmf
from vmf_embeddings import catalogue
from vmf_embeddings.cli import assembly, overrides
from vmf_embeddings.cli.assembly.parts import method_on
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.training import checkpoint

C = 7
GREY = ImageTransform(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))
NAMES = [f"kind {c}" for c in range(C)]
OPTIONAL = {"pml": "pytorch_metric_learning", "timm": "timm"}
assembly.register_resolvers()


def saved_run(folder: Path, *typed: str, transform=GREY, older: bool = False):
    """A checkpoint of a method with random weights, as a training would leave it."""
    cfg = overrides.composed([*typed, "dataset.params.dataset_path=/nowhere"])
    with open_dict(cfg):
        del cfg["hydra"]
    assembly.parts.resolve_use_vmf(cfg)
    arch = assembly.instantiate("arch", cfg.arch)
    arch.class_spec = vmf_spec(arch.class_spec)
    torch.manual_seed(0)
    method = method_on(cfg, arch)
    method.set_class_counts(torch.arange(1, C + 1))
    if method.feature_scaling is not None:
        method.feature_scaling.prepare(torch.arange(1, C + 1))
    state = {
        "epoch": 3,
        "best_epoch": {"epoch": 3, "train_loss": 0.5, "valid_acc": 0.75},
        "selected_on": "valid",
        "arch_state_dict": method.arch.state_dict(),
        "method_state_dict": method.state_dict(),
        "config": json.dumps(OmegaConf.to_container(cfg, resolve=True)),
    }
    if not older:
        meta = None if transform is None else transform.to_meta()
        state |= {"n_classes": C, "class_names": NAMES, "image_transform": meta}
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(folder / "model_3.pt", state)
    return method.eval()


def vmf_spec(spec):
    from dataclasses import replace

    return replace(spec, n_classes=C)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(folder)): (
            hashlib.sha256(p.read_bytes()).hexdigest(),
            p.stat().st_mtime_ns,
        )
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def optional(names: list[str]) -> list:
    missing = {n for n in names if n in OPTIONAL and find_spec(OPTIONAL[n]) is None}
    skip = pytest.mark.skipif(True, reason="its library is not installed")
    return [pytest.param(n, marks=skip) if n in missing else n for n in names]


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("name", optional(catalogue.names("method")))
def test_every_method_loads_from_elsewhere_and_changes_nothing_in_its_folder(
    name, tmp_path, monkeypatch
):
    method = saved_run(tmp_path / "run", f"method={name}", "arch.params.embedding_dim=5")
    before = digests(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = vmf.load("../run", device="cpu")
    embeddings = run.embed(IMAGES, batch_size=2)
    wanted = torch.stack([GREY(image) for image in IMAGES])
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(embeddings), method.embed(wanted).float())
    assert embeddings.dtype == np.float32 and embeddings.shape == (5, 5)
    if run.n_classes is not None:
        probabilities = run.predict(IMAGES)
        assert probabilities.shape == (5, C) and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(probabilities, run.predict(IMAGES))
    assert run.confidence(embeddings).shape == (5,)
    assert run.class_names == NAMES and run.geometry == method.geometry
    assert run.config["method"]["name"] == name and run.metrics["valid_acc"] == 0.75
    assert digests(tmp_path) == before


LARGE = ("resnet152", "resnext50_32x4d")
ARCHS = [
    name
    for name in catalogue.names("arch")
    if name not in LARGE and "in_features" not in catalogue.option("arch", name)["params"]
]


QUICK_ARCHS = ("n_digit_mnist", "resnet32", "resnet10_feature", "googlenet", "timm")


def quick_archs() -> list:
    """All of them, as parameters; what is like another one is slow."""
    marks = {getattr(p, "values", [p])[0]: list(getattr(p, "marks", ())) for p in optional(ARCHS)}
    return [
        pytest.param(name, marks=marks[name] + [pytest.mark.slow] * (name not in QUICK_ARCHS))
        for name in ARCHS
    ]


@pytest.mark.parametrize("name", quick_archs())
def test_every_arch_loads_without_its_data(name, tmp_path):
    colour = ImageTransform(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    transform = GREY if name == "n_digit_mnist" else colour
    method = saved_run(tmp_path, f"arch={name}", transform=transform)
    run = vmf.load(tmp_path / "model_3.pt", device="cpu")
    inputs = torch.stack([transform(image) for image in IMAGES[:2]])
    with torch.no_grad():
        wanted = method.embed(inputs).float().numpy()
    np.testing.assert_allclose(run.embed(IMAGES[:2]), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ("unnormalized_sce", "dml", "classifier", "fsgl"))
def test_an_older_checkpoint_tells_its_classes_by_its_weights(name, tmp_path):
    saved_run(tmp_path, f"method={name}", older=True)
    run = vmf.load(tmp_path)
    assert run.n_classes == C and run.class_names is None
    assert run.transform == GREY  # that of the data set in its configuration
    assert run.embed(IMAGES).shape[0] == 5


def test_without_a_transform_only_network_inputs_are_embedded(tmp_path):
    saved_run(tmp_path, transform=None)
    run = vmf.load(tmp_path)
    with pytest.raises(ValueError, match="give transform= to vmf.load"):
        run.embed(IMAGES)
    inputs = torch.stack([GREY(image) for image in IMAGES])
    given = vmf.load(tmp_path, transform=GREY)
    np.testing.assert_array_equal(run.embed(inputs), given.embed(IMAGES))


def test_a_checkpoint_of_2021_without_folder_takes_its_command_line(tmp_path):
    method = saved_run(tmp_path / "a", "method=unnormalized_sce", "arch.params.embedding_dim=5")
    layers = {layer: place for place, layer in type(method.arch).reference_layers.items()}
    own = method.arch.state_dict()
    state = {f"encoder.{layers[k.split('.')[0]]}.{k.partition('.')[2]}": v for k, v in own.items()}
    state["encoder.13.weight"] = method.class_weights.detach()
    path = tmp_path / "b" / "model_9.pt"
    path.parent.mkdir()
    checkpoint.save(path, {"epoch": 9, "arch_state_dict": state})
    with pytest.raises(ValueError, match=r"overrides=\['method=vmf_softmax'"):
        vmf.load(path)
    typed = ["method=unnormalized_sce", "arch.params.embedding_dim=5"]
    run = vmf.load(path, overrides=typed, transform=GREY)
    wanted = vmf.load(tmp_path / "a")
    np.testing.assert_array_equal(run.embed(IMAGES), wanted.embed(IMAGES))
    np.testing.assert_array_equal(run.predict(IMAGES), wanted.predict(IMAGES))


def test_an_objective_without_classes_refuses_to_predict(tmp_path):
    saved_run(tmp_path, "method=dml", "criterion=triplet")
    with pytest.raises(ValueError, match="predicts no classes"):
        vmf.load(tmp_path).predict(IMAGES)


WRONG = [
    ("n_classes", 0, "n_classes must be a whole number"),
    ("n_classes", 3.5, "n_classes must be a whole number"),
    ("class_names", "cat", "class_names must be a list"),
    ("class_names", ["x" * 2000], "class_names must be a list"),
    ("class_names", ["a"] * (C + 1), "names 8 classes"),
    ("image_transform", ["resize"], "image_transform must be names and values"),
    ("image_transform", {"size": [10**9, 10**9]}, "must have the keys"),
    ("image_transform", {**GREY.to_meta(), "size": [10**6, 28]}, "size must be"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_what_a_checkpoint_states_of_its_data_is_checked(key, value, message, tmp_path):
    saved_run(tmp_path)
    state = torch.load(tmp_path / "model_3.pt", weights_only=True) | {key: value}
    checkpoint.save(tmp_path / "model_3.pt", state)
    with pytest.raises(ValueError, match=message):
        vmf.load(tmp_path)


def test_a_configuration_in_a_checkpoint_builds_nothing_outside_the_list(tmp_path):
    saved_run(tmp_path)
    state = torch.load(tmp_path / "model_3.pt", weights_only=True)
    config = json.loads(state["config"])
    config["arch"]["params"]["_target_"] = "os.system"
    checkpoint.save(tmp_path / "model_3.pt", state | {"config": json.dumps(config)})
    with pytest.raises(ValueError, match="may not be built"):
        vmf.load(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> vmf.Run:
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return vmf.load(folder, device="cpu")


def test_every_form_of_the_same_images_gives_the_same_embeddings(run, tmp_path):
    wanted = run.embed(IMAGES)
    paths = []
    for number, image in enumerate(IMAGES):
        path = tmp_path / f"b{4 - number}" / "image.png"
        path.parent.mkdir()
        Image.fromarray(image).save(path)
        paths.append(path)
    forms = {
        "paths": paths,
        "names": [str(path) for path in paths],
        "Pillow": [Image.fromarray(image) for image in IMAGES],
        "a generator": (image for image in IMAGES),
        "[N, H, W, 1]": IMAGES[..., None],
        "a uint8 tensor": torch.from_numpy(IMAGES)[:, None],
        "network inputs": torch.stack([GREY(image) for image in IMAGES]),
    }
    for name, images in forms.items():
        np.testing.assert_array_equal(run.embed(images), wanted, err_msg=name)
    # sorted by path; another place in a batch may round differently
    np.testing.assert_allclose(run.embed(tmp_path), wanted[::-1], rtol=1e-5)
    assert vmf.image_files(tmp_path) == paths[::-1]
    np.testing.assert_allclose(run.embed(paths[0]), wanted[:1], rtol=1e-5)  # a batch of one
    assert run.embed([]).shape == (0, run.embedding_dim)


def test_a_broken_image_is_named(run, tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png"):
        run.embed(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        run.embed([tmp_path / "missing.png"])


def test_a_link_out_of_a_folder_of_images_is_refused(run, tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "outside.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(ValueError, match="leads out of"):
        run.embed(folder)


MISTAKES = [
    (IMAGES.astype(np.float32), "uint8 arrays"),
    (IMAGES[0], "uint8 arrays"),
    (np.zeros((20, 30, 3), np.uint8), r"images\[None\]"),
    (7, "got int"),
    (torch.zeros(2, 1, 28, 28, dtype=torch.int64), "uint8 tensors"),
]


@pytest.mark.parametrize(("images", "message"), MISTAKES)
def test_other_forms_are_refused_with_those_that_are_taken(run, images, message):
    with pytest.raises(ValueError, match=message):
        run.embed(images)


def test_predicting_leaves_the_random_state_as_it_was(run):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    run.predict(IMAGES)
    assert torch.equal(torch.rand(3), wanted)


def test_a_bar_is_shown_where_it_is_asked_for_and_never_in_a_file(run, capsys):
    run.embed(IMAGES, progress=None)
    assert capsys.readouterr().err == ""


def test_class_count_is_the_checkpoints_where_no_weight_depends_on_it(tmp_path):
    saved_run(tmp_path / "run", "method=dml", "criterion=triplet", "miner=distance")
    assert vmf.load(tmp_path / "run").module.arch.class_spec.n_classes == C
