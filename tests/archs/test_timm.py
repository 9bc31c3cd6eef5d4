"""Backbones of timm, by its own tiny nets."""

import re
from pathlib import Path

import pytest
import torch

import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.archs.test_seams import build

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
IMAGES = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


def net(model, **overrides):
    return build("timm", model=model, embedding_dim=8, **overrides)


@pytest.mark.parametrize(
    ("model", "pool"), [("test_resnet", "double"), ("test_vit", "own"), ("test_byobnet", "avg")]
)
def test_features_have_the_width_that_the_net_says(model, pool):
    arch = net(model, pool=pool).eval()
    with torch.no_grad():
        features = arch.features(IMAGES)
        assert features.shape == (2, arch.n_features) == (2, arch.trunk.num_features)
        assert torch.equal(arch(IMAGES), arch.project(features))
    assert arch(IMAGES).shape == (2, 8)


def test_own_pooling_is_the_nets_and_double_adds_the_maximum():
    own, average, double = (
        net("test_resnet", pool=pool).eval() for pool in ("own", "avg", "double")
    )
    with torch.no_grad():
        maps = own.trunk.forward_features(IMAGES)
        assert torch.equal(own.features(IMAGES), own.trunk(IMAGES))
        torch.testing.assert_close(average.features(IMAGES), maps.mean((2, 3)))
        torch.testing.assert_close(double.features(IMAGES), maps.mean((2, 3)) + maps.amax((2, 3)))
    assert own.state_dict().keys() == double.state_dict().keys()


def test_features_at_the_end_are_pooled_over_the_places():
    arch = net("test_resnet", pool="double")
    maps = torch.rand(2, arch.n_features, 3, 4)
    arch.trunk.forward_features = lambda images: maps.permute(0, 2, 3, 1)
    torch.testing.assert_close(arch.features(IMAGES), maps.mean((2, 3)) + maps.amax((2, 3)))


def test_tokens_cannot_be_pooled_as_maps_and_sizes_are_checked():
    with pytest.raises(ValueError, match="test_vit ends in tokens .*pool=own"):
        net("test_vit", pool="avg").features(IMAGES)
    with pytest.raises(ValueError, match="timm's test_vit3: .*160"):
        net("test_vit3").features(torch.rand(1, 3, 32, 32))


def test_grey_images_and_frozen_statistics():
    arch = net("test_resnet", in_channels=1, set_bn_eval=True).train()
    before = arch.trunk.bn1.running_mean.clone()
    assert arch(torch.rand(2, 1, 64, 64)).shape == (2, 8)
    assert torch.equal(before, arch.trunk.bn1.running_mean)


def test_weights_from_a_file_are_loaded_on_request_only(tmp_path):
    donor = timm.create_model("test_resnet", num_classes=10).state_dict()
    torch.save(donor, tmp_path / "w.pth")
    arch = net("test_resnet", weights=str(tmp_path / "w.pth"))
    assert not torch.equal(arch.trunk.conv1[0].weight, donor["conv1.0.weight"])
    arch.load_pretrained()
    assert all(torch.equal(v, donor[k]) for k, v in arch.trunk.state_dict().items())
    other = net("test_vit", weights=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="does not hold this test_vit.*timm's test_vit"):
        other.load_pretrained()


def test_weights_by_name_are_fetched_by_timm(monkeypatch):
    name = timm.list_pretrained("test_resnet.*")[0]
    donor, asked = timm.create_model("test_resnet", num_classes=0), []
    arch = net("test_resnet", weights=f"timm:{name}")

    def fetch(model, **options):
        asked.append((model, options["pretrained"]))
        return donor

    monkeypatch.setattr(timm, "create_model", fetch)
    arch.load_pretrained()
    assert asked == [(name, True)]
    assert all(torch.equal(v, donor.state_dict()[k]) for k, v in arch.trunk.state_dict().items())

    def offline(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"no network.*arch.params.weights=PATH"):
        arch.load_pretrained()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet5"}, "no such architecture; did you mean resnet5"),
        ({"model": "resnet50.tv_in1k"}, "did you mean arch.params.model=resnet50 with that as its"),
        ({"model": "hf_hub:someone/net"}, "no such architecture"),
        ({"model": "test_resnet", "weights": "timm:resnet50.tv_in1k"}, "knows no such weights of"),
        ({"model": "test_resnet", "pool": "max"}, "pool must be own, avg, double, got 'max'"),
    ],
)
def test_names_that_do_not_exist_are_refused_before_work(options, message):
    with pytest.raises(ValueError, match=message):
        net(**options)


def test_options_reach_the_constructor_and_unknown_ones_are_named():
    assert net("test_vit", options={"img_size": 96}).trunk.patch_embed.img_size == (96, 96)
    any_size = net("test_vit", options={"dynamic_img_size": True})
    assert any_size(torch.rand(1, 3, 96, 64)).shape == (1, 8)
    with pytest.raises(ValueError, match=r"nonsense: 1.*test_vit cannot be built .*'nonsense'"):
        net("test_vit", options={"nonsense": 1})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "checkpoint_path",
            "/etc/passwd",
            "checkpoint_path is not an option here; say arch.params",
        ),
        ("pretrained_cfg", "x", "pretrained_cfg is not an option here"),
        ("num_classes", 3, "num_classes is not an option here"),
        ("act_layer", {"_target_": "os.system"}, "act_layer .* must be a number, a text"),
    ],
)
def test_options_that_read_files_or_hold_objects_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        net("test_vit", options={key: value})


def test_without_a_projection_features_are_the_embeddings():
    arch = build("timm", model="test_resnet", embedding_dim=96, projection="none").eval()
    with torch.no_grad():
        assert torch.equal(arch(IMAGES), arch.features(IMAGES))
    with pytest.raises(ValueError, match=r"embedding_dim=96, or arch.params.projection=linear"):
        net("test_resnet", projection="none")


@pytest.mark.parametrize("model", ("test_resnet", "test_vit", "test_efficientnet"))
def test_a_frozen_backbone_learns_in_the_projection_alone_and_stays_in_evaluation(model):
    arch = net(model, frozen=True).train()
    assert {n for n, p in arch.named_parameters() if p.requires_grad} == {
        "projection.weight",
        "projection.bias",
    }
    assert arch.training
    assert not any(module.training for module in arch.trunk.modules())
    features = arch.features(IMAGES)
    assert torch.equal(arch(features), arch(IMAGES))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"frozen": True, "lora": {"rank": 2}}, "frozen=true and arch.params.lora"),
        ({"frozen": True, "trainable_from": "blocks.1"}, "frozen=true and arch.params.trainable"),
    ],
)
def test_one_option_says_what_learns(options, named):
    with pytest.raises(ValueError, match=f"{named}.*contradict"):
        net("test_vit", **options)


def test_position_embeddings_of_a_file_are_resampled_to_the_image_size(tmp_path):
    from safetensors.torch import save_file

    donor = timm.create_model("test_vit", num_classes=10)
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    arch = net("test_vit", options={"img_size": 96}, weights=str(tmp_path / "w.safetensors"))
    arch.load_pretrained()
    assert arch.trunk.pos_embed.shape[1] == 1 + 6 * 6
    for name, tensor in arch.trunk.state_dict().items():
        assert name == "pos_embed" or torch.equal(tensor, donor.state_dict()[name]), name
    resampled = timm.layers.resample_abs_pos_embed(donor.pos_embed, (6, 6), num_prefix_tokens=1)
    torch.testing.assert_close(arch.trunk.pos_embed, resampled)


TOWERS = {  # families of transformers, made small
    "vit_small_patch14_dinov2": {"img_size": 56, "embed_dim": 24, "depth": 2, "num_heads": 2},
    "vit_base_patch16_clip_224": {"img_size": 64, "embed_dim": 24, "depth": 2, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"img_size": 64, "embed_dim": 24, "depth": 2, "num_heads": 2},
}


@pytest.mark.parametrize("model", TOWERS)
def test_towers_load_from_a_file_of_another_image_size_and_embed_as_in_timm(tmp_path, model):
    options = TOWERS[model]
    size = options["img_size"]
    patch = 14 if "14" in model else 16
    larger = timm.create_model(model, **{**options, "img_size": 8 * patch})
    torch.save(larger.state_dict(), tmp_path / "w.pth")
    arch = net(model, options=options, weights=str(tmp_path / "w.pth")).eval()
    arch.load_pretrained()
    reference = timm.create_model(model, num_classes=0, **options).eval()
    timm.models.load_checkpoint(
        reference,
        str(tmp_path / "w.pth"),
        filter_fn=timm.models.vision_transformer.checkpoint_filter_fn,
        strict=False,
    )
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        features = arch.features(images)
        assert features.shape == (2, arch.n_features)
        torch.testing.assert_close(features, reference(images))
    assert (reference.attn_pool is not None) == ("siglip" in model)


def test_a_wrong_image_size_names_both_ways_out():
    with pytest.raises(ValueError, match=r"image_size=auto.*options=\{img_size: 96\}"):
        net("test_vit3")(torch.rand(1, 3, 96, 96))


def test_weights_by_name_are_fetched_with_the_options(monkeypatch):
    name = timm.list_pretrained("test_vit.*")[0]
    arch, asked = net("test_vit", weights=f"timm:{name}", options={"img_size": 96}), []

    def fetch(model, **options):
        asked.append(options)
        return arch.trunk

    monkeypatch.setattr(timm, "create_model", fetch)
    arch.load_pretrained()
    assert asked[0]["img_size"] == 96


def test_weights_on_the_page_of_backbones_exist():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    named = set(re.findall(r"arch.params.weights=timm:([\w.]+)", page))
    assert len(named) > 5
    assert named <= set(timm.list_pretrained())
