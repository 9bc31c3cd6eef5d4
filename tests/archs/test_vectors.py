"""Laws of the networks on feature vectors: identity, linear, mlp."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import vmf_embeddings
from vmf_embeddings.archs import Identity, Mlp, VectorArch

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "arch"
NAMES = ("identity", "linear", "mlp")
F, B = 6, 8


def target_and_options(name: str) -> tuple[type, dict]:
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())["params"]
    module, _, attribute = options.pop("_target_").rpartition(".")
    return getattr(import_module(module), attribute), options


def build(name: str, **overrides: object) -> VectorArch:
    target, options = target_and_options(name)
    torch.manual_seed(0)
    return target(**{**options, "in_features": F, **overrides})


def vectors() -> torch.Tensor:
    return torch.randn(B, F, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_constructor_have_the_same_parameters(name):
    target, options = target_and_options(name)
    parameters = inspect.signature(target).parameters
    assert set(parameters) == set(options)
    assert all(p.default is p.empty for p in parameters.values()), "defaults live in the yaml"


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_projected_features(name):
    arch = build(name).eval()
    features = arch.features(vectors())
    assert features.shape == (B, arch.n_features)
    assert arch(vectors()).shape == (B, arch.class_spec.embedding_dim)
    assert torch.equal(arch(vectors()), arch.project(features))


@pytest.mark.parametrize("name", NAMES)
def test_without_a_dimension_embeddings_have_that_of_the_vectors(name):
    assert build(name, embedding_dim=None)(vectors()).shape == (B, F)


def test_identity_hands_on_every_bit_and_learns_nothing():
    arch = build("identity")
    assert torch.equal(arch(vectors()), vectors())
    assert not list(arch.parameters())
    with pytest.raises(ValueError, match="arch=identity hands on its 6 features, got .*=5"):
        build("identity", embedding_dim=5)


def test_linear_is_the_affine_map_of_its_weights():
    arch = build("linear", embedding_dim=3)
    expected = vectors() @ arch.projection.weight.T + arch.projection.bias
    torch.testing.assert_close(arch(vectors()), expected)


def test_mlp_without_hidden_layers_is_linear():
    linear = build("linear", embedding_dim=3)
    mlp = build("mlp", embedding_dim=3, hidden=[])
    mlp.load_state_dict(linear.state_dict())
    assert torch.equal(mlp(vectors()), linear(vectors()))


@pytest.mark.parametrize("norm", ("none", "batch", "layer"))
@pytest.mark.parametrize("activation", ("relu", "gelu"))
def test_mlp_has_the_layers_it_was_asked_for(norm, activation):
    arch = build("mlp", hidden=[5, 4], norm=norm, activation=activation, dropout=0.5)
    kinds = [type(layer) for layer in arch.hidden]
    one = [nn.Linear, {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm]]
    one += [{"relu": nn.ReLU, "gelu": nn.GELU}[activation], nn.Dropout]
    assert kinds == [kind for kind in one if kind] * 2
    assert [layer.out_features for layer in arch.hidden if isinstance(layer, nn.Linear)] == [5, 4]
    assert arch.n_features == 4
    assert nn.Dropout not in {type(layer) for layer in build("mlp", dropout=0.0).hidden}


def test_rows_of_a_batch_do_not_see_one_another_with_layer_norm():
    arch = build("mlp", hidden=[5], norm="layer").train()
    torch.testing.assert_close(arch(vectors())[:1], arch(vectors()[:1]))


@pytest.mark.parametrize("name", NAMES)
def test_standardized_inputs_are_those_of_standardized_data(name):
    plain, arch = build(name).eval(), build(name).eval()
    mean, std = torch.randn(F), torch.rand(F) + 0.5
    arch.set_input_statistics(mean, std)
    torch.testing.assert_close(arch(vectors() * std + mean), plain(vectors()), rtol=1e-4, atol=1e-5)
    again = build(name).eval()
    again.load_state_dict(arch.state_dict())
    assert torch.equal(again(vectors()), arch(vectors()))
    arch.load_state_dict(plain.state_dict())
    assert torch.equal(arch(vectors()), plain(vectors()))


@pytest.mark.parametrize("name", NAMES)
def test_a_mean_of_0_and_a_deviation_of_1_change_no_bit(name):
    plain, arch = build(name).eval(), build(name).eval()
    arch.load_state_dict(plain.state_dict())
    arch.has_statistics = True
    assert torch.equal(arch(vectors()), plain(vectors()))


@pytest.mark.parametrize("name", NAMES)
def test_normalised_embeddings_have_norm_1(name):
    torch.testing.assert_close(build(name, normalize=True)(vectors()).norm(dim=1), torch.ones(B))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [torch.zeros(B, F + 1), torch.zeros(B, 1, F), torch.zeros(F)])
def test_inputs_of_another_form_are_refused(name, wrong):
    with pytest.raises(ValueError, match=r"takes vectors \[B, 6\], got"):
        build(name)(wrong)


@pytest.mark.parametrize("length", (None, 0, True, 2.0))
def test_the_length_of_the_vectors_is_needed(length):
    with pytest.raises(ValueError, match="arch.params.in_features is the length of the input"):
        build("linear", in_features=length)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": [0]}, "hidden expects the widths"),
        ({"hidden": 512}, r"such as arch.params.hidden=\[512,256\]"),
        ({"hidden": "512"}, "hidden expects the widths"),
        ({"norm": "group"}, "norm is one of none, batch, layer; got 'group'"),
        ({"activation": "tanh"}, "activation is one of relu, gelu; got 'tanh'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build("mlp", **options)


@pytest.mark.parametrize("name", NAMES)
def test_backbone_and_embedding_layer_share_out_the_parameters(name):
    arch = build(name)
    both = [*arch.embedding_parameters(), *arch.backbone_parameters()]
    assert sorted(map(id, both)) == sorted(map(id, arch.parameters()))
    assert isinstance(arch.projection, nn.Identity if isinstance(arch, Identity) else nn.Linear)
    assert bool(arch.backbone_parameters()) == isinstance(arch, Mlp)
