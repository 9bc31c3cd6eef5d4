"""Runs on frozen, partly frozen and adapted backbones: loaded, embedded and extracted."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import vmf_embeddings as vmf
import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.cli.test_second_stage import composed
from vmf_embeddings.cli import assembly
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.extract import extract

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
QUICK = [
    *("mode.epochs=1", "num_workers=0", "trainer.cpu=true", "trainer.threads=1", "sampler=random"),
    *("sampler.batch_size=8", "method=classifier", "mode.learning_rate=0.01", "arch=timm"),
    *("arch.params.model=test_vit", "arch.params.embedding_dim=4", "dataset=folder"),
    *("dataset.params.normalisation=auto", "dataset.params.image_size=auto"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of two classes of noise, one darker than the other."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for label, brightest in (("dark", 80), ("light", 255)):
        (root / label).mkdir()
        for number in range(10):
            pixels = rng.integers(0, brightest, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMF_RUNS", str(tmp_path / "runs"))
    return tmp_path


def train(images, *words):
    return vmf.train([*QUICK, f"dataset.params.dataset_path={images}", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["arch.params.frozen=true"],
        ["arch.params.frozen=true", "trainer.feature_views=2", "dataset.params.augment=cub"],
        ["arch.params.lora={rank: 2}"],
        ["arch.params.trainable_from=blocks.5", "arch.params.options={img_size: 96}"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_run_loads_without_its_data_and_embeds_alike(elsewhere, images, words):
    run = train(images, *words)
    again = vmf.load(run.folder)
    paths = sorted(images.glob("*/*.png"))[:3]
    embeddings = run.embed(paths)
    assert embeddings.shape == (3, 4)
    np.testing.assert_array_equal(embeddings, again.embed(paths))
    log = (run.folder / "main.train.log").read_text()
    assert "Learns " in log
    size = 96 if "img_size" in str(words) else 160
    assert run.config["dataset"]["params"]["image_size"] == size
    assert again.transform.size == (size, size)


def test_augmented_copies_of_an_image_have_features_of_their_own(elsewhere, images):
    words = ["trainer.feature_views=3", "dataset.params.augment=cub", "trainer.feature_cache=disk"]
    train(images, "arch.params.frozen=true", *words)
    shapes = {}
    for path in (elsewhere / "runs" / "feature_cache").glob("*.npy"):
        features = np.load(path)
        shapes[features.shape[0]] = features
    assert sorted(shapes) == [1, 3]
    first, second, third = shapes[3]
    assert first.shape[1] == 64
    for one, other in ((first, second), (second, third), (first, third)):
        assert (np.abs(one - other).max(1) > 1e-3).all()


def test_features_of_an_untrained_net_are_extracted_as_they_are(elsewhere, images, tmp_path):
    donor = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    words = ["mode.epochs=0", "arch.params.projection=none", "arch.params.embedding_dim=64"]
    words += ["arch.params.frozen=true", f"arch.params.weights={tmp_path / 'w.pth'}"]
    run = train(images, *words)
    assert run.metrics["epoch"] == -1
    (row,) = csv.DictReader((run.folder / "metrics.csv").open())
    assert row["epoch"] == "-1" and 0 <= float(row["valid_metric"]) <= 1
    # the same words again: `auto` contradicts no number
    typed = [word for word in QUICK if word.startswith("dataset.params")]
    cfg = composed(["dataset=folder", *typed, "mode=get_embeddings", "num_workers=0"])
    (written,) = extract(assembly.extraction_job(cfg, run.folder, typed))
    file = load_embeddings(written)
    assert file.meta["epoch"] == -1 and file.meta["weights"] == run.weights_hash
    inputs = torch.stack([run.transform(Image.open(path)) for path in file.paths])
    with torch.no_grad():
        np.testing.assert_allclose(file.embeddings, donor(inputs).numpy(), rtol=1e-4, atol=1e-5)


def test_more_epochs_continue_an_untrained_run_from_the_start(elsewhere, images):
    frozen = ["arch.params.frozen=true", "schedule=constant"]
    train(images, *frozen, "mode.epochs=0", "name=a")
    resumed = train(images, *frozen, "mode.epochs=1", "name=a")
    direct = train(images, *frozen, "mode.epochs=1", "name=b")
    rows = [json.loads(x) for x in (resumed.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [-1, 0]
    last, other = (torch.load(one.folder / "last.pt") for one in (resumed, direct))
    for name, tensor in last["method_state_dict"].items():
        assert torch.equal(tensor, other["method_state_dict"][name]), name
