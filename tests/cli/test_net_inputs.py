"""Laws of `normalisation=auto` and `image_size=auto`: a run states the numbers of its network."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.cli.test_second_stage import composed
from vmf_embeddings.cli.assembly import Refused, training_job
from vmf_embeddings.cli.assembly.net_inputs import resolve_net_inputs

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
AUTO = ["dataset.params.normalisation=auto", "dataset.params.image_size=auto"]


def resolved(*overrides, arch="timm"):
    cfg = composed(["dataset=folder", f"arch={arch}", *overrides])
    resolve_net_inputs(cfg)
    return cfg.dataset.params


@pytest.mark.parametrize(
    "model", ("tf_efficientnet_lite0", "vit_base_patch16_clip_224", "resnet50")
)
def test_auto_is_what_timm_knows_of_the_default_weights(model):
    known = timm.get_pretrained_cfg(model)
    params = resolved(*AUTO, f"arch.params.model={model}")
    assert params.normalisation == "data"
    assert (tuple(params.mean), tuple(params.std)) == (known.mean, known.std)
    assert params.image_size == known.input_size[-1]
    assert (params.interpolation, params.crop_fraction) == (known.interpolation, known.crop_pct)


def test_weights_by_name_and_options_of_the_net_decide():
    by_name = resolved(
        *AUTO, "arch.params.model=resnet50", "arch.params.weights=timm:resnet50.tv_in1k"
    )
    assert (by_name.interpolation, by_name.crop_fraction) == ("bilinear", 0.875)
    smaller = ["arch.params.model=vit_small_patch14_dinov2", "arch.params.options={img_size: 224}"]
    assert resolved(*AUTO, *smaller).image_size == 224
    assert resolved(*AUTO, *smaller[:1]).image_size == 518


def test_one_of_both_leaves_the_other():
    params = resolved("dataset.params.image_size=auto", "arch.params.model=test_vit")
    assert (params.image_size, params.normalisation) == (160, "data")
    assert params.mean[0] == 0.485
    params = resolved("dataset.params.normalisation=auto", "arch.params.model=test_vit")
    assert (params.image_size, params.mean[0]) == (224, 0.5)


def test_torchvisions_nets_have_imagenets_and_nets_without_weights_have_none():
    params = resolved(*AUTO, "arch.params.first_conv_3x3=false", arch="resnet50")
    assert (params.mean[0], params.image_size, params.interpolation) == (0.485, 224, "bilinear")
    with pytest.raises(Refused, match="image_size=auto: arch=resnet50 .*image_size=224"):
        resolved(*AUTO, arch="resnet50")
    with pytest.raises(Refused, match="no such architecture"):
        resolved(*AUTO, "arch.params.model=resnet5")


def test_a_warning_names_weights_whose_images_are_normalised_otherwise(caplog):
    weights = ["arch.params.model=tf_efficientnet_lite0", "arch.params.weights=file.safetensors"]
    resolved(*weights)
    assert "add dataset.params.normalisation=auto" in caplog.text
    caplog.clear()
    resolved(*weights, "dataset.params.normalisation=auto")
    resolved("arch.params.model=resnet50", "arch.params.weights=file.safetensors")
    resolved("arch.params.model=tf_efficientnet_lite0")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_run_stores_numbers_and_reads_images_by_them(tmp_path):
    rng = np.random.default_rng(1)
    for place in [f"{kind}/{n}" for kind in "ab" for n in range(12)]:
        path = tmp_path / "data" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    words = ["dataset=folder", f"dataset.params.dataset_path={tmp_path / 'data'}", "arch=timm"]
    words += ["arch.params.model=test_resnet", *AUTO, "method=classifier", "sampler=random"]
    job = training_job(composed(words), tmp_path)
    stored = json.loads(json.dumps(job.config))["dataset"]["params"]
    known = timm.get_pretrained_cfg("test_resnet")
    assert stored["normalisation"] == "data"
    assert stored["image_size"] == known.input_size[-1]
    transform = job.dataset.image_transform
    assert transform.interpolation == known.interpolation
    assert transform.size == (160, 160)
    assert transform.resize == int(160 / known.crop_pct)


def test_a_data_set_without_a_network_does_not_guess(tmp_path):
    from vmf_embeddings.datasets.folder import Folder

    options = {"open_set": None, "valid_share": 0.1, "test_share": 0.1, "augment": "none"}
    options |= {"mean": [0.5] * 3, "std": [0.5] * 3, "margin_warmup_epochs": 0}
    with pytest.raises(ValueError, match="normalisation=auto is that of a network"):
        Folder(tmp_path, **options, image_size=32, normalisation="auto")
    with pytest.raises(ValueError, match="image_size=auto is that of a network"):
        Folder(tmp_path, **options, image_size="auto")
    with pytest.raises(ValueError, match="interpolation is one of nearest, bilinear"):
        Folder(tmp_path, **options, image_size=32, interpolation="cubic")
    with pytest.raises(ValueError, match=r"crop_fraction must be in \(0, 1\]"):
        Folder(tmp_path, **options, image_size=32, crop_fraction=1.5)
