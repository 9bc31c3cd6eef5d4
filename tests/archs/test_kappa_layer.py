"""The embedding layer with a network of its own for the length of an embedding."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.criteria.made import made
from tests.methods.laws import TinyArch, normal
from vmf_embeddings import catalogue
from vmf_embeddings.archs.base import embedding_layer
from vmf_embeddings.cli import assembly
from vmf_embeddings.directional import mean_cosine_inverse
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.elk import ELK
from vmf_embeddings.methods.nivmf import NivMF
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax


def layer(n_features=9, dim=4):
    torch.manual_seed(0)
    return embedding_layer("linear_kappa", n_features, dim)


class Arch(TinyArch):
    def __init__(self, **head):
        super().__init__(5, 4, **head)
        self.projection = layer(8)


def test_directions_are_those_of_the_linear_layer_and_lengths_those_of_the_network():
    made_of, features = layer(), normal(6, 9).float()
    rows = made_of(features)
    linear = nn.functional.linear(features, made_of.weight, made_of.bias)
    torch.testing.assert_close(
        rows / rows.norm(dim=-1, keepdim=True), linear / linear.norm(dim=-1, keepdim=True)
    )
    lengths = nn.functional.softplus(made_of.kappa(features)).squeeze(-1)
    torch.testing.assert_close(rows.norm(dim=-1), lengths)


def test_the_length_sends_no_gradient_to_the_features_and_the_direction_does():
    made_of, features = layer(), normal(6, 9).float().requires_grad_()
    made_of(features).norm(dim=-1).sum().backward()
    assert features.grad.abs().max() < 1e-6
    assert all(p.grad.abs().max() > 0 for p in made_of.kappa[-1].parameters())
    made_of(features)[:, 0].sum().backward()
    assert features.grad.abs().max() > 1e-3


def test_lengths_are_above_0_and_rows_float32_under_autocast():
    made_of = layer()
    made_of.kappa[-1].bias.data.fill_(-50.0)
    with torch.autocast("cpu", torch.bfloat16):
        rows = made_of(normal(6, 9).float())
    assert rows.dtype == torch.float32 and (rows.norm(dim=-1) > 0).all()


def of_criterion(name):
    return lambda: DML(Arch(), made(name, 5, 4, image_confidence=0.7).float(), None)


VMF = {"kappa_confidence": 0.7}
METHODS = {
    "elk": lambda: ELK(Arch(**VMF), "elk", "exact", None),
    "nivmf": lambda: NivMF(Arch(**VMF), 4, 1.0, "exact", None),
    "vmf_softmax": lambda: VMFSoftmax(Arch(**VMF), 4, "exact", "exact", "exact"),
    "mcinfonce": of_criterion("mcinfonce"),
    "hib": of_criterion("hib"),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_on_distributions_scales_it_once_and_trains_it(name):
    torch.manual_seed(0)
    method, images, labels = METHODS[name](), normal(20, 1, 4, 4).float(), torch.arange(20) % 5
    method.train().init_from_data(lambda: images.split(20))
    kappas = method.embed(images).norm(dim=-1)
    wanted = mean_cosine_inverse(torch.tensor(0.7), 4)
    torch.testing.assert_close(kappas.square().mean().sqrt(), wanted, rtol=1e-4, atol=0)
    method({"examples": images, "ids": labels}).backward()
    layers = [method.arch.projection.weight, *method.arch.projection.kappa.parameters()]
    assert all(p.grad.abs().max() > 0 for p in layers)


def test_every_net_with_the_option_has_it():
    for name in catalogue.names("arch"):
        options = OmegaConf.load(catalogue.CONF / "arch" / f"{name}.yaml").params
        assert "projection" not in options or "linear_kappa" in line_of(name)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("n_digit_mnist", (1, 28, 28), {}),
        ("linear", (7,), {"in_features": 7}),
        ("mlp", (7,), {"in_features": 7, "hidden": [9]}),
    ],
)
def test_networks_on_images_and_on_vectors_are_built_with_it(name, shape, options):
    node = OmegaConf.load(catalogue.CONF / "arch" / f"{name}.yaml")
    node.params.update(projection="linear_kappa", embedding_dim=6, n_classes=5, **options)
    arch = assembly.instantiate("arch", node)
    inputs = torch.rand(2, *shape)
    lengths = nn.functional.softplus(arch.projection.kappa(arch.features(inputs))).squeeze(-1)
    torch.testing.assert_close(arch(inputs).norm(dim=-1), lengths)
    assert arch(inputs).shape == (2, 6)
    assert len(arch.embedding_parameters()) == 8


@pytest.mark.parametrize("name", ("linear", "mlp"))
def test_networks_on_vectors_say_which_layers_they_have(name):
    node = OmegaConf.load(catalogue.CONF / "arch" / f"{name}.yaml")
    node.params.update(projection="none", in_features=7, embedding_dim=7, n_classes=5)
    with pytest.raises(Exception, match="projection is one of linear, linear_kappa; got 'none'"):
        assembly.instantiate("arch", node)


def test_methods_that_read_no_lengths_are_named(caplog):
    assembly.warn_of_lost_norms(ELK(Arch(), "elk", "exact", None))
    assembly.warn_of_lost_norms(NormalizedSCE(TinyArch(5, 4)))
    assert not caplog.records
    assembly.warn_of_lost_norms(NormalizedSCE(Arch()))
    assert "use arch.params.projection=linear, or" in caplog.text


def line_of(name):
    text = (catalogue.CONF / "arch" / f"{name}.yaml").read_text()
    return next(line for line in text.splitlines() if line.startswith("  projection:"))
