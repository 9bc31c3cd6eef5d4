"""Laws of the backbones, built from their yaml files."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import vmf_embeddings
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.n_digit_mnist import NDigitMnist
from vmf_embeddings.archs.resnet import ResNet18, ResNet50

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "arch"
CLASSES = {"n_digit_mnist": NDigitMnist, "resnet18": ResNet18, "resnet50": ResNet50}


def build(name: str, **overrides: object) -> Arch:
    """A backbone with the settings of its yaml, some replaced."""
    params = yaml.safe_load((CONF / f"{name}.yaml").read_text())["params"]
    del params["_target_"]
    return CLASSES[name](**{**params, **overrides})


def n_parameters(arch: Arch, n_classes: int) -> int:
    """As 2021 counted: the backbone, one class weight vector per class, one temperature."""
    own = sum(p.numel() for p in arch.parameters())
    return own + n_classes * arch.class_spec.embedding_dim + 1


@pytest.mark.parametrize("name", CLASSES)
def test_yaml_and_constructor_have_the_same_parameters(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert node["name"] == name
    target = node["params"].pop("_target_")
    assert target == f"{CLASSES[name].__module__}.{CLASSES[name].__name__}"
    assert set(inspect.signature(CLASSES[name]).parameters) == set(node["params"])


@pytest.mark.parametrize("name", CLASSES)
def test_class_spec_holds_what_was_asked_for(name):
    asked = {"n_classes": 7, "embedding_dim": 5, "use_vmf": True, "learn_temp": True}
    asked |= {"init_temp": -2.0, "kappa_confidence": 0.7}
    spec = build(name, **asked).class_spec
    assert {key: getattr(spec, key) for key in asked} == asked
    assert replace(spec, n_classes=9).n_classes == 9


def test_parameter_counts_are_those_of_2021():
    assert n_parameters(build("n_digit_mnist", embedding_dim=3), 10) == 97_450
    assert n_parameters(build("resnet50", embedding_dim=128), 10) == 23_763_905


@pytest.mark.parametrize("n_digits", (1, 3))
def test_digits_side_by_side_are_one_image(n_digits):
    arch = build("n_digit_mnist", n_digits=n_digits, embedding_dim=4)
    images = torch.rand(5, 1, 28, 28 * n_digits)
    assert arch(images).shape == (5, 4)
    assert arch.features(images).shape == (5, 120)
    with pytest.raises(ValueError, match=f"n_digits={n_digits} takes images"):
        arch(torch.rand(5, 1, 28, 28 * n_digits + 28))


def test_no_digits_are_refused():
    with pytest.raises(ValueError, match="n_digits must be at least 1"):
        build("n_digit_mnist", n_digits=0)


def test_digit_net_starts_xavier_uniform_with_zero_biases():
    arch = build("n_digit_mnist")
    for layer, fans in ((arch.hidden, 784 + 120), (arch.conv2, 25 * (6 + 16))):
        bound = (6 / fans) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


@pytest.mark.parametrize("first_conv_3x3, sizes", [(True, [16, 8, 4, 2]), (False, [8, 4, 2, 1])])
def test_maps_of_a_32x32_image_have_the_sizes_of_2021(first_conv_3x3, sizes):
    arch = build("resnet50", first_conv_3x3=first_conv_3x3).eval()
    seen = []
    for stage in (arch.trunk.layer1, arch.trunk.layer2, arch.trunk.layer3, arch.trunk.layer4):
        stage.register_forward_hook(lambda m, i, out: seen.append(out.shape[-1]))
    with torch.no_grad():
        features = arch.features(torch.rand(1, 3, 32, 32))
    assert seen == sizes
    assert features.shape == (1, 2048)


def test_residual_blocks_start_as_identities():
    arch = build("resnet18")
    last = [m.bn2.weight for stage in (2, 4) for m in getattr(arch.trunk, f"layer{stage}")]
    assert not torch.cat(last).any()
    assert not arch.projection.bias.any()


def test_grey_images_go_through_a_resnet():
    arch = build("resnet18", in_channels=1, embedding_dim=6)
    assert arch(torch.rand(2, 1, 32, 32)).shape == (2, 6)


@pytest.mark.parametrize("set_bn_eval", (True, False))
def test_frozen_batch_norm_keeps_its_statistics_in_training(set_bn_eval):
    arch = build("resnet18", set_bn_eval=set_bn_eval).train()
    before = arch.trunk.bn1.running_mean.clone()
    arch(torch.rand(4, 3, 32, 32))
    assert torch.equal(before, arch.trunk.bn1.running_mean) == set_bn_eval
    assert arch.training


@pytest.mark.parametrize("suffix", ("pth", "safetensors"))
def test_weights_from_a_file_are_loaded_on_request_only(tmp_path, suffix):
    donor, path = build("resnet18").trunk.state_dict(), tmp_path / f"weights.{suffix}"
    donor |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    if suffix == "pth":
        torch.save(donor, path)
    else:
        from safetensors.torch import save_file

        save_file(donor, path)
    arch = build("resnet18", weights=str(path))
    assert not torch.equal(arch.trunk.conv1.weight, donor["conv1.weight"])
    arch.load_pretrained()
    assert all(torch.equal(v, donor[k]) for k, v in arch.trunk.state_dict().items())


def test_weights_of_another_net_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build("resnet18", first_conv_3x3=False).trunk.state_dict(), path)
    with pytest.raises(ValueError, match=r"1 of another shape .*conv1.*first_conv_3x3=False"):
        build("resnet18", weights=str(path)).load_pretrained()
    with pytest.raises(FileNotFoundError, match=r"arch.params.weights=.*nowhere.pth"):
        build("resnet18", weights=str(tmp_path / "nowhere.pth")).load_pretrained()


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a weights file was run')",))


def test_code_in_a_weights_file_is_not_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": _Bomb()}, path)
    with pytest.raises(ValueError, match=r"builtin.*exec"):
        build("resnet18", weights=str(path)).load_pretrained()


def test_missing_network_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(FileNotFoundError, match="arch.params.weights=PATH"):
        build("resnet18", pretrained=True, first_conv_3x3=False).load_pretrained()


@pytest.mark.parametrize("unfit", ({"first_conv_3x3": True}, {"in_channels": 1}))
def test_imagenet_weights_for_another_first_convolution_are_refused_before_work(unfit):
    with pytest.raises(ValueError, match="add arch.params.first_conv_3x3=False"):
        build("resnet18", **{"pretrained": True, "first_conv_3x3": False, **unfit})


def test_building_a_pretrained_net_reads_nothing(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("downloaded in the constructor")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", forbidden)
    build("resnet18", pretrained=True, weights=str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_of_2021_loads_under_its_own_names(name):
    """Those hold each layer as `encoder.N.*`, N its place, and again under a name of its own."""
    donor, arch = build(name), build(name)
    places = {layer: place for place, layer in arch.reference_layers.items()}
    state = {"temp": torch.zeros(1, 1), "classifier.weight": torch.zeros(10, 3)}
    for key, tensor in donor.state_dict().items():
        layer = next(la for la in places if key.startswith(f"{la}."))
        rest = key.removeprefix(f"{layer}.")
        state[f"encoder.{places[layer]}.{rest}"] = state[f"some_name_{layer}.{rest}"] = tensor
    arch.load_state_dict(arch.from_reference_state(state))
    assert all(torch.equal(v, donor.state_dict()[k]) for k, v in arch.state_dict().items())


def test_reference_places_of_the_digit_net_are_those_of_2021():
    layers = NDigitMnist.reference_layers
    assert (layers["0"], layers["5"], layers["9"], layers["12"]) == (
        "conv1",
        "bn2",
        "hidden",
        "projection",
    )
    assert ResNet50.reference_layers["10"] == "projection"
