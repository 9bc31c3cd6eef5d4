"""Laws of what all methods share: parameter groups, temperature, precision, checkpoints of 2021."""

import pytest
import torch

from tests.methods.laws import TinyArch, normal, reference_checkpoint
from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.precision import full_precision, widen
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE


def group_of(method, parameter, **kwargs):
    groups = method.param_groups(0.25, **kwargs)
    (found,) = [g for g in groups if any(p is parameter for p in g["params"])]
    return found


def test_decay_reaches_matrices_of_the_backbone_alone():
    method = NormalizedSCE(TinyArch(learn_temp=True))
    assert "weight_decay" not in group_of(method, method.arch.hidden.weight)
    for parameter in (
        method.arch.hidden.bias,
        method.arch.norm.weight,
        method.class_parameters.weight,
    ):
        assert group_of(method, parameter)["weight_decay"] == 0.0


def test_class_weights_decay_on_request_as_in_2021():
    method = NormalizedSCE(TinyArch())
    assert "weight_decay" not in group_of(
        method, method.class_parameters.weight, class_weight_decay="reference"
    )
    with pytest.raises(ValueError, match="class_weight_decay must be one of .*'always'"):
        method.param_groups(0.1, class_weight_decay="always")


@pytest.mark.parametrize("rule", ("none", "reference"))
def test_hyperplanes_never_decay(rule):
    method = HyperbolicSCE(TinyArch(), 1.0)
    for parameter in (method.a_vals, method.p_vals):
        assert group_of(method, parameter, class_weight_decay=rule)["weight_decay"] == 0.0


def test_learned_temperature_has_its_own_rate_and_no_momentum():
    method = NormalizedSCE(TinyArch(learn_temp=True))
    group = group_of(method, method.class_parameters.tau)
    assert [id(p) for p in group["params"]] == [id(method.class_parameters.tau)]
    constants = {k: v for k, v in group.items() if k != "params"}
    assert constants == {"lr": 0.25, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


def test_groups_step_in_a_nesterov_optimizer():
    method = NormalizedSCE(TinyArch(learn_temp=True))
    groups = method.param_groups(0.25)
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    before = [p.clone() for p in method.parameters()]
    method({"examples": torch.rand(8, 1, 4, 4), "ids": torch.arange(8) % 5}).backward()
    optimizer.step()
    # the bias before BatchNorm has no gradient
    moved = [not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True)]
    assert sum(moved) >= len(moved) - 1


def test_frozen_parameters_are_left_out():
    method = UnnormalizedSCE(TinyArch())
    method.arch.hidden.requires_grad_(False)
    grouped = {id(p) for g in method.param_groups(0.1) for p in g["params"]}
    assert id(method.arch.hidden.weight) not in grouped
    assert id(method.class_parameters.weight) in grouped


@pytest.mark.parametrize("learn_temp", (True, False))
def test_temperature_is_the_exponential_of_tau_and_divides_the_logits(learn_temp):
    arch = TinyArch(learn_temp=learn_temp, init_temp=-2.773)
    method = NormalizedSCE(arch)
    assert method.temperature.item() == pytest.approx(0.0625, rel=1e-3)
    assert method.status() == {"temperature": method.temperature.item()}
    on_class = method.logits(method.class_parameters.weight.detach()).diagonal()
    torch.testing.assert_close(on_class * method.temperature, torch.ones(5))


def test_fixed_and_learned_temperature_read_each_others_checkpoints():
    fixed = NormalizedSCE(TinyArch(init_temp=-1.0))
    learned = NormalizedSCE(TinyArch(learn_temp=True))
    learned.load_state_dict(fixed.state_dict())
    assert learned.temperature == fixed.temperature
    assert not any(p is fixed.class_parameters.tau for p in fixed.parameters())


def test_methods_without_temperature_have_temperature_one():
    for method in (UnnormalizedSCE(TinyArch()), HyperbolicSCE(TinyArch(), 1.0)):
        assert method.temperature.item() == 1.0
        assert method.status() == {}


def test_unknown_number_of_classes_is_named():
    for build in (UnnormalizedSCE, lambda arch: HyperbolicSCE(arch, 1.0)):
        with pytest.raises(ValueError, match="arch.params.n_classes=N"):
            build(TinyArch(n_classes=None))


def test_vmf_flag_without_vmf_method_is_named():
    with pytest.raises(ValueError, match="method=normalized_sce needs arch.params.use_vmf=False"):
        NormalizedSCE(TinyArch(use_vmf=True))


def test_full_precision_computes_wide_inside_autocast():
    @full_precision
    def product(x, y):
        return x @ y.T

    x, y = normal(4, 4).float(), normal(4, 4, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ y.T).dtype == torch.bfloat16
        assert torch.equal(product(x, y), product(x, y.clone()))
        assert product(x, y).dtype == product(x.bfloat16(), y).dtype == torch.float32
        assert product(x.double(), y.double()).dtype == torch.float64
    assert widen("text") == "text"


def test_a_checkpoint_of_2021_fills_backbone_class_weights_and_temperature():
    method = NormalizedSCE(TinyArch(learn_temp=True))
    checkpoint = reference_checkpoint(method)
    bias = method.arch.projection.bias.detach().clone()
    method.from_reference_checkpoint(checkpoint)
    torch.testing.assert_close(method.arch.projection.bias, bias + 1)
    assert torch.equal(
        method.class_parameters.weight, checkpoint["arch_state_dict"]["encoder.4.weight"]
    )
    assert method.class_parameters.tau.item() == -1.5


def test_a_checkpoint_of_another_shape_or_arch_is_refused():
    method = NormalizedSCE(TinyArch())
    checkpoint = reference_checkpoint(method)
    with pytest.raises(ValueError, match=r"encoder.4.weight is \[5, 3\] in the checkpoint"):
        NormalizedSCE(TinyArch(n_classes=6)).from_reference_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="another arch"):
        NormalizedSCE(TinyArch(embedding_dim=4)).from_reference_checkpoint(checkpoint)
    del checkpoint["arch_state_dict"]["encoder.4.weight"]
    with pytest.raises(ValueError, match="no encoder.4.weight"):
        method.from_reference_checkpoint(checkpoint)
