"""Laws of the backbones whose embeddings are their features, built from their yaml files."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

import vmf_embeddings
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.cifar_resnet import SubsampledShortcut

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "arch"
DIMS = {
    "resnet10_feature": 512,
    "resnet50_feature": 2048,
    "resnet152": 2048,
    "resnext50_32x4d": 2048,
    "resnet32": 64,
    "resnet32_wide": 256,
    "resnet34_cifar": 512,
}
CHEAP = ("resnet10_feature", "resnet32", "resnet34_cifar")


def target_and_options(name: str) -> tuple[type, dict]:
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())["params"]
    module, _, attribute = options.pop("_target_").rpartition(".")
    return getattr(import_module(module), attribute), options


def build(name: str, **overrides: object) -> Arch:
    """A backbone with the settings of its yaml, some replaced."""
    target, options = target_and_options(name)
    torch.manual_seed(0)
    return target(**{**options, **overrides})


def millions(name: str, **overrides: object) -> float:
    """Parameters in millions, counted without filling them."""
    with torch.device("meta"):
        arch = build(name, **overrides)
    return sum(p.numel() for p in arch.parameters()) / 1e6


def linear(n_in: int, n_out: int) -> float:
    return (n_in + 1) * n_out / 1e6


def two_branch_heads(dim: int, hidden: int, n_classes: int = 100) -> float:
    """The heads that GLMC counts: two classifiers, a projection and a predictor."""
    return 2 * linear(dim, n_classes) + linear(dim, hidden) + linear(hidden, hidden)


@pytest.mark.parametrize("name", DIMS)
def test_yaml_and_constructor_have_the_same_parameters(name):
    target, options = target_and_options(name)
    assert set(inspect.signature(target).parameters) == set(options)
    assert options["embedding_dim"] == DIMS[name]
    first, *lines = (CONF / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# ") and "https://" in first
    assert all("  # " in line for line in lines if line.startswith("  ") and "_target_" not in line)


def test_parameter_counts_are_the_published_ones():
    assert round(millions("resnet10_feature"), 2) == 4.91
    assert round(millions("resnet50_feature"), 2) == 23.51
    assert round(millions("resnet32") + linear(64, 10), 3) == 0.464
    assert round(millions("resnet32_wide") + two_branch_heads(256, 128), 2) == 7.48
    for depth, dim, published in ((18, 512, 11.5), (34, 512, 21.6), (50, 2048, 24.5)):
        backbone = millions("resnet34_cifar", depth=depth, embedding_dim=dim)
        assert round(backbone + two_branch_heads(dim, 256), 1) == published
    # torchvision's own counts, with the 1000 classes of ImageNet
    assert round(millions("resnext50_32x4d") + linear(2048, 1000), 6) == 25.028904
    assert round(millions("resnet152") + linear(2048, 1000), 6) == 60.192808


@pytest.mark.parametrize("name", DIMS)
def test_another_width_is_refused_with_the_right_one(name):
    with torch.device("meta"), pytest.raises(ValueError, match=f"embedding_dim={DIMS[name]}, or"):
        build(name, embedding_dim=128)


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("in_channels", (1, 3))
def test_embeddings_are_the_features_and_not_negative(name, in_channels):
    arch = build(name, in_channels=in_channels).eval()
    images = torch.randn(3, in_channels, 28, 28)
    with torch.no_grad():
        embeddings = arch(images)
        assert torch.equal(embeddings, arch.features(images))
    assert embeddings.shape == (3, DIMS[name])
    assert (embeddings >= 0).all() and embeddings.std() > 0


@pytest.mark.parametrize("name", CHEAP)
def test_every_parameter_gets_a_gradient(name):
    arch = build(name)
    arch(torch.randn(4, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in arch.parameters())


@pytest.mark.parametrize("name", CHEAP[:2])
def test_channels_last_changes_rounding_alone(name):
    arch = build(name).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        before = arch(images)
        arch.to(memory_format=torch.channels_last)
        after = arch(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(before, after, rtol=1e-10, atol=1e-12)


def test_every_batch_norm_starts_as_the_identity_and_convolutions_by_their_fan_out():
    trunk = build("resnet10_feature").trunk
    norms = [m for m in trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    conv = trunk.layer2[0].conv1.weight  # N(0, 2 / (3 * 3 * 128)) from 73,728 draws
    assert abs(conv.std() - (2 / (9 * 128)) ** 0.5) < 3e-4


def test_maps_of_the_thin_net_halve_twice_and_widen():
    arch, seen = build("resnet32").eval(), []
    for block in arch.blocks:
        block.register_forward_hook(lambda m, i, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        arch(torch.randn(1, 3, 32, 32))
    assert seen == [(16, 32, 32)] * 5 + [(32, 16, 16)] * 5 + [(64, 8, 8)] * 5
    assert not any(p.numel() for b in arch.blocks for p in b.shortcut.parameters())


def test_a_shortcut_without_parameters_takes_every_second_pixel_and_pads_with_zeros():
    maps = torch.randn(2, 4, 7, 6)
    out = SubsampledShortcut(4, 8, 2)(maps)
    assert out.shape == (2, 8, 4, 3)
    assert torch.equal(out[:, 2:6], maps[:, :, ::2, ::2])
    assert not out[:, [0, 1, 6, 7]].any()


def test_a_block_whose_branch_is_silent_passes_its_input_on():
    block = build("resnet32").blocks[0].eval()
    torch.nn.init.zeros_(block.branch[-1].weight)
    maps = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(maps), maps)


@pytest.mark.parametrize("depth", (7, 33, 2))
def test_a_depth_that_does_not_make_three_equal_stages_is_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be 6 n \+ 2"):
        build("resnet32", depth=depth)


@pytest.mark.parametrize(("init", "gain"), [("torch", 1 / 3), ("kaiming", 2)])
def test_convolutions_begin_with_the_weights_that_are_asked_for(init, gain):
    net = build("resnet34_cifar", depth=18, init=init)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.numel() > 50_000:
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx((gain / fan_in) ** 0.5, rel=0.02)


def test_unknown_depths_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"init must be one of kaiming, torch, got 'zeros'"):
        build("resnet34_cifar", init="zeros")
    with pytest.raises(ValueError, match=r"depth must be one of \[18, 34, 50\], got 20"):
        build("resnet34_cifar", depth=20)
    with pytest.raises(ValueError, match=r"width must be at least 1, got 0"):
        build("resnet32", width=0)


def test_imagenet_weights_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="torchvision has no ImageNet weights of resnet10"):
        build("resnet10_feature", pretrained=True)


def test_weights_from_a_file_are_loaded(tmp_path):
    donor, path = build("resnet10_feature").trunk.state_dict(), tmp_path / "weights.pth"
    torch.save({k: v + 1 for k, v in donor.items()}, path)
    arch = build("resnet10_feature", weights=str(path))
    arch.load_pretrained()
    assert all(torch.equal(v, donor[k] + 1) for k, v in arch.trunk.state_dict().items())
