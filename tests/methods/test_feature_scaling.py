"""Feature scaling: its ends, its order by class size, and that it acts in training alone."""

import math

import pytest
import torch

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.methods.feature_scaling import MODES, FeatureScaling, class_factors
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax


def profile(n_classes: int, n_max: int, imbalance: float) -> torch.Tensor:
    powers = torch.arange(n_classes, dtype=torch.float64) / (n_classes - 1)
    return (n_max * imbalance**-powers + 1e-9).long()


@pytest.mark.parametrize(
    ("n_classes", "strength", "first", "last"), [(10, 0.5, 1.5, 1.05), (100, 1.0, 2.0, 1.01)]
)
def test_rank_has_its_known_ends(n_classes, strength, first, last):
    factors = class_factors("rank", strength, profile(n_classes, 500, 100))
    assert factors[0].item() == pytest.approx(first)
    assert factors[-1].item() == pytest.approx(last)
    k = torch.arange(n_classes, dtype=torch.float64)
    torch.testing.assert_close(factors, 1 + strength - k * strength / n_classes)


def test_logfreq_ends_at_one_and_follows_the_rank_on_exponential_profiles():
    for n_classes, strength, n_max, imbalance, gap in (
        (10, 0.5, 5000, 50, 0.051),
        (100, 1.0, 500, 50, 0.041),
        (100, 1.0, 500, 100, 0.041),
    ):
        counts = profile(n_classes, n_max, imbalance)
        factors = class_factors("logfreq", strength, counts)
        assert factors[0] == 1 + strength and factors[-1] == 1
        assert (factors - class_factors("rank", strength, counts)).abs().max() < gap


def test_balanced_classes_get_one_by_logfreq():
    assert class_factors("logfreq", 0.7, torch.tensor([5, 5, 5])).tolist() == [1, 1, 1]


def test_half_scales_the_more_frequent_half_alone():
    counts = torch.tensor([1, 50, 7, 300, 20])
    assert class_factors("half", 1.0, counts).tolist() == pytest.approx([1, 1.8, 1, 2, 1.6])


def test_const_is_alike_for_all():
    assert class_factors("const", 0.25, torch.tensor([9, 1])).tolist() == [1.25, 1.25]


@pytest.mark.parametrize("mode", ("rank", "logfreq", "half"))
def test_factors_go_by_class_size_not_by_class_number(mode):
    counts, order = torch.tensor([400, 90, 33, 7, 2]), torch.tensor([3, 0, 4, 1, 2])
    straight = class_factors(mode, 0.5, counts)
    torch.testing.assert_close(class_factors(mode, 0.5, counts[order]), straight[order])
    assert straight.tolist() == sorted(straight.tolist(), reverse=True)


def test_ties_go_to_the_lower_class_number():
    assert class_factors("rank", 1.0, torch.tensor([5, 9, 5])).tolist() == pytest.approx(
        [5 / 3, 2, 4 / 3]
    )


@pytest.mark.parametrize("mode", MODES)
def test_strength_zero_leaves_everything_as_it_is(mode):
    assert (class_factors(mode, 0.0, torch.tensor([90, 9, 1])) == 1).all()


def scaling(mode: str = "rank", strength: float = 0.5, round_decimals: int | None = None):
    module = FeatureScaling(mode, strength, round_decimals)
    module.prepare(torch.tensor([500, 120, 30, 8, 2]))
    return module


def test_mixed_labels_take_the_mean_factor_and_no_gradient():
    module, labels = scaling(), torch.tensor([0, 4])
    share = torch.tensor([[0.25, 0, 0, 0, 0.75], [0, 0, 0, 0, 1.0]], requires_grad=True)
    torch.testing.assert_close(module.factors(labels), torch.tensor([1.5, 1.1]))
    torch.testing.assert_close(module.factors(share), torch.tensor([1.2, 1.1]))
    assert not module.factors(share).requires_grad


def test_rounding_gives_the_original_s_two_decimals():
    factors = scaling(strength=0.333, round_decimals=2).class_factors
    assert factors.tolist() == pytest.approx([1.33, 1.27, 1.2, 1.13, 1.07])


def test_training_scales_what_the_loss_sees_and_evaluation_nothing():
    torch.manual_seed(0)
    method = UnnormalizedSCE(TinyArch())
    plain = method.state_dict()
    method.feature_scaling = scaling()
    z, y = normal(6, 3).float(), torch.arange(6) % 5
    expected = z * torch.tensor([1.5, 1.4, 1.3, 1.2, 1.1, 1.5])[:, None]
    torch.testing.assert_close(method.scale_features(z, y), expected)
    batch = {"examples": normal(6, 1, 4, 4).float(), "ids": y}
    embeddings = method.embed(batch["examples"])
    torch.testing.assert_close(method(batch), method.loss(method.scale_features(embeddings, y), y))
    method.eval()
    assert method.scale_features(z, y) is z
    alone = UnnormalizedSCE(TinyArch()).eval()
    alone.load_state_dict(plain)
    # the pass above moved BatchNorm's statistics
    alone.arch.load_state_dict(method.arch.state_dict())
    images = batch["examples"]
    assert torch.equal(method.embed(images), alone.embed(images))
    assert torch.equal(method.logits(z), alone.logits(z))


def test_a_method_of_laws_is_scaled_in_its_concentrations():
    method = VMFSoftmax(TinyArch(use_vmf=True), 4, "exact", "exact", "exact")
    method.feature_scaling = scaling("const", 1.0)
    z = normal(4, 3).float()
    lengths = method.scale_features(z, torch.arange(4)).norm(dim=-1)
    torch.testing.assert_close(lengths, 2 * z.norm(dim=-1))


def test_factors_come_back_from_a_checkpoint():
    method, other = UnnormalizedSCE(TinyArch()), UnnormalizedSCE(TinyArch())
    method.feature_scaling, other.feature_scaling = scaling(), FeatureScaling("rank", 0.5, None)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.feature_scaling.class_factors, method.feature_scaling.class_factors)
    assert "feature_scaling.class_factors" in method.state_dict()


@pytest.mark.parametrize(
    ("mode", "strength"), [("linear", 1.0), ("rank", -1.0), ("rank", math.nan)]
)
def test_wrong_values_are_refused(mode, strength):
    with pytest.raises(ValueError, match=r"feature_scaling.params.(mode|strength) must be"):
        FeatureScaling(mode, strength, None)


def test_counts_are_needed_of_every_class():
    with pytest.raises(ValueError, match="prepare"):
        FeatureScaling("rank", 1.0, None).factors(torch.tensor([0]))
    with pytest.raises(ValueError, match="at least one training image of every class"):
        FeatureScaling("rank", 1.0, None).prepare(torch.tensor([3, 0]))
