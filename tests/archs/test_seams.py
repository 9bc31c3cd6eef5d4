"""What backbones share: features, an embedding layer, unit length, pooling, frozen statistics."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import vmf_embeddings
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.pooling import MeanPlusMax, pool_named

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "arch"
SIZES = {"n_digit_mnist": (1, 28), "googlenet": (3, 64)}
SMALL = ("n_digit_mnist", "resnet10_feature", "resnet32", "googlenet")
POOLED = ("resnet10_feature", "googlenet")
PROJECTED = ("n_digit_mnist", "googlenet")


def build(name: str, **overrides: object) -> Arch:
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())["params"]
    module, _, attribute = options.pop("_target_").rpartition(".")
    torch.manual_seed(0)
    return getattr(import_module(module), attribute)(**{**options, "n_classes": 5, **overrides})


def images(name: str, n: int = 2) -> torch.Tensor:
    channels, size = SIZES.get(name, (3, 32))
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SMALL)
def test_embeddings_are_projected_features(name):
    arch, batch = build(name).eval(), images(name)
    with torch.no_grad():
        features = arch.features(batch)
        embeddings = arch.project(features)
        assert torch.equal(arch(batch), embeddings)
    assert features.shape == (2, arch.n_features)
    assert embeddings.shape == (2, arch.class_spec.embedding_dim)


@pytest.mark.parametrize("name", SMALL)
def test_backbone_and_embedding_layer_share_out_the_parameters(name):
    arch = build(name)
    layer, backbone = arch.embedding_parameters(), arch.backbone_parameters()
    assert sorted(map(id, (*layer, *backbone))) == sorted(map(id, arch.parameters()))
    shapes = [(arch.class_spec.embedding_dim, arch.n_features), (arch.class_spec.embedding_dim,)]
    assert [tuple(p.shape) for p in layer] == (shapes if name in PROJECTED else [])


@pytest.mark.parametrize("name", PROJECTED)
def test_a_frozen_backbone_leaves_the_embedding_layer_its_gradient(name):
    arch = build(name)
    for parameter in arch.backbone_parameters():
        parameter.requires_grad_(False)
    arch(images(name)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in arch.embedding_parameters())
    assert all(p.grad is None for p in arch.backbone_parameters())


@pytest.mark.parametrize("name", SMALL)
def test_normalised_embeddings_have_the_same_direction_and_length_1(name):
    plain, unit = build(name).eval(), build(name, normalize=True).eval()
    with torch.no_grad():
        before, after = plain(images(name)), unit(images(name))
    assert (before.norm(dim=1) - 1).abs().min() > 1e-3
    torch.testing.assert_close(after.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(after, before / before.norm(dim=1, keepdim=True))
    assert plain.state_dict().keys() == unit.state_dict().keys()


def test_lengths_are_1_under_autocast_too():
    arch = build("n_digit_mnist", normalize=True).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings = arch(images("n_digit_mnist"))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_double_pooling_adds_mean_and_maximum():
    maps = torch.randn(3, 4, 5, 6)
    assert torch.equal(MeanPlusMax()(maps), maps.mean((2, 3), True) + maps.amax((2, 3), True))
    with pytest.raises(ValueError, match="pool must be one of avg, double, got 'max'"):
        pool_named("max")


@pytest.mark.parametrize("name", POOLED)
def test_double_pooling_keeps_width_and_state(name):
    average, double = build(name).eval(), build(name, pool="double").eval()
    assert average.state_dict().keys() == double.state_dict().keys()
    assert average.n_features == double.n_features
    with torch.no_grad():
        less, more = average.features(images(name)), double.features(images(name))
    assert (more >= 2 * less - 1e-6).all()  # maps >= 0: their maximum is at least their mean
    assert (more > less).any()


@pytest.mark.parametrize("name", POOLED)
def test_frozen_statistics_stay_while_scales_and_shifts_learn(name):
    arch = build(name, set_bn_eval=True).train()
    norms = [module for module in arch.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    arch(images(name, 4)).square().sum().backward()
    assert arch.training and not any(norm.training for norm in norms)
    assert all(torch.equal(n.running_mean, old) for n, old in zip(norms, before, strict=True))
    assert norms[-1].weight.requires_grad and norms[-1].bias.grad.any()


def test_weights_of_googlenet_come_from_a_file(tmp_path):
    donor = build("googlenet")
    state = {k: v + 1 for k, v in donor.trunk.state_dict().items()}
    torch.save(state | {"fc.weight": torch.zeros(1000, 1024)}, tmp_path / "g.pth")
    arch = build("googlenet", weights=str(tmp_path / "g.pth"))
    arch.load_pretrained()
    assert all(torch.equal(v, state[k]) for k, v in arch.trunk.state_dict().items())
    del state["conv1.conv.weight"]
    torch.save(state, tmp_path / "g.pth")
    with pytest.raises(ValueError, match="does not hold this googlenet: 1 tensors missing"):
        arch.load_pretrained()
