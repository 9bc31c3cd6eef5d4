"""Laws of the start of von Mises-Fisher parameters, and the numbers of 2021."""

import math

import pytest
import torch

import vmf_embeddings as vmf
from tests.conftest import cases
from tests.methods.laws import normal
from vmf_embeddings.directional import mean_cosine, mean_cosine_inverse
from vmf_embeddings.methods.vmf_start import class_weight_std, embedding_scale, initial_kappa


@pytest.mark.parametrize("dim", (2, 3, 128, 512))
@pytest.mark.parametrize("confidence", (0.01, 0.4, 0.7, 0.99))
def test_exact_start_has_the_confidence_that_was_asked_for(dim, confidence):
    kappa = torch.tensor(initial_kappa(confidence, dim), dtype=torch.float64)
    assert mean_cosine(kappa, dim).item() == pytest.approx(confidence, rel=1e-8)


def test_reference_start_misses_it_in_low_dimensions_only():
    for dim, reached in ((3, 0.300), (8, 0.370), (512, 0.400)):
        kappa = torch.tensor(initial_kappa(0.4, dim, "reference"), dtype=torch.float64)
        assert mean_cosine(kappa, dim).item() == pytest.approx(reached, abs=6e-4)


def test_reference_scale_and_standard_deviation_equal_2021(golden):
    data = golden("vmf_init")
    for case in cases(data):
        confidence = float(data[f"{case}/kappa_confidence"])
        dim = int(data[f"{case}/embedding_dim"])
        blocks = torch.tensor(data[f"{case}/embeddings"]).split(64)
        scale = embedding_scale(blocks, confidence, "reference")
        assert scale == pytest.approx(float(data[f"{case}/z_kappa_mult"].item()), rel=1e-5)
        std = class_weight_std(confidence, dim, "reference")
        assert std == pytest.approx(float(data[f"{case}/class_weight_init_std"]), rel=1e-12)


@pytest.mark.parametrize("rule", ("exact", "reference"))
def test_scale_ignores_blocks_and_undoes_stretching(rule):
    embeddings = normal(50, 8)
    whole = embedding_scale([embeddings], 0.4, rule)
    assert embedding_scale(embeddings.split(7), 0.4, rule) == pytest.approx(whole, rel=1e-12)
    assert embedding_scale([10 * embeddings], 0.4, rule) == pytest.approx(whole / 10, rel=1e-12)


def test_images_start_as_sure_as_classes_and_in_2021_surer_by_a_quarter():
    embeddings, dim = normal(20_000, 32), 32
    for rule, ratio in (("exact", 1.0), ("reference", math.sqrt(math.pi / 2))):
        images = embedding_scale([embeddings], 0.4, rule) * embeddings.square().mean().sqrt()
        classes = class_weight_std(0.4, dim, rule)
        assert (images / classes).item() == pytest.approx(ratio, rel=5e-3)


def test_embeddings_without_length_are_refused():
    for bad in (torch.zeros(4, 3), torch.full((4, 3), math.nan)):
        with pytest.raises(ValueError, match="mean norm"):
            embedding_scale([bad], 0.4)


@pytest.mark.parametrize("name", ("vmf_softmax", "elk", "nivmf"))
def test_an_objective_without_a_network_is_prepared_by_embeddings(name):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=4, kappa_confidence=0.7)
    rows = normal(40, 8).float()
    kappas = loss_fn.prepare(rows).embed(rows).norm(dim=-1)
    wanted = mean_cosine_inverse(torch.tensor(0.7), 8)
    torch.testing.assert_close(kappas.square().mean().sqrt(), wanted)
