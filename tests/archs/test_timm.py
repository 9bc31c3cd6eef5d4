"""Backbones of timm, by its own tiny nets."""

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
