"""Dynamo traces the functions into one graph, without the exact fractions of the expansions."""

import pytest
import torch

from tests.compiler import fresh_compiler
from vmf_embeddings import directional
from vmf_embeddings.directional.bessel import expansion
from vmf_embeddings.geometry import VonMisesFisher


@pytest.fixture(autouse=True)
def without_graphs_of_other_tests():
    with fresh_compiler():
        yield


def similarity(kappa, dim):
    geometry = VonMisesFisher()
    rows = kappa[:, None] * torch.ones(len(kappa), dim)
    return geometry.similarity(geometry.project(rows), geometry.project(rows))


FUNCTIONS = {
    "mean_cosine": directional.mean_cosine,
    "cosine_variance": directional.cosine_variance,
    "log_normalizer": directional.log_normalizer,
    "similarity": similarity,
}


def test_expansions_are_constants_of_a_graph():
    """Else the next tests would not end."""
    torch.compiler.assume_constant_result(plain := lambda: None)
    assert vars(plain) and vars(plain).items() <= vars(expansion).items()


@pytest.mark.parametrize(
    ("name", "dim"), [("mean_cosine", 3), ("mean_cosine", 128), *((name, 8) for name in FUNCTIONS)]
)
def test_one_graph_gives_the_same_values_and_gradients(name, dim):
    if not hasattr(expansion, "_dynamo_marked_constant"):
        pytest.fail("Dynamo would trace the fractions of the expansions for minutes")
    kappa, function = torch.tensor([0.1, 9.0, 300.0], requires_grad=True), FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    found, expected = compiled(kappa, dim), function(kappa, dim)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(value.sum(), kappa)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes)
