"""Conditional flows: inverse, log-determinant, recorded values of the published code."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases
from tests.flows.golden import flow_of, ours
from tests.methods.laws import normal
from vmf_embeddings.flows import ConditionalFlow, flow_objective, negative_log_likelihood
from vmf_embeddings.flows.conditions import CONDITIONS
from vmf_embeddings.flows.coupling import log_scale
from vmf_embeddings.flows.flow import permutation
from vmf_embeddings.flows.subnet import mlp

B = 6


def flow(dim: int = 7, mode: str = "dense", **options) -> ConditionalFlow:
    torch.manual_seed(0)
    return ConditionalFlow(
        dim, **{"blocks": 3, "depth": 3, "width": 9} | options, cond_mode=mode
    ).double()


@pytest.mark.parametrize("dim", (2, 3, 8, 9))
@pytest.mark.parametrize("mode", CONDITIONS)
def test_inverse_undoes_forward_and_log_determinants_cancel(dim, mode):
    made, x, condition = flow(dim, mode), normal(B, dim), normal(B, dim, seed=1)
    z, log_det = made(x, condition)
    back, log_det_back = made.inverse(z, condition)
    assert not torch.allclose(z, x)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det + log_det_back, torch.zeros(B).double())
    there, _ = made(made.inverse(x, condition)[0], condition)
    torch.testing.assert_close(there, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ("none", "mid", "dense", "dense_embed_multi_stacked"))
@pytest.mark.parametrize("way", ("forward", "inverse"))
def test_log_determinant_is_that_of_the_autograd_jacobian(mode, way):
    made, x, condition = flow(mode=mode), normal(B, 7), normal(B, 7, seed=1)
    run = getattr(made, way)
    for row, seen in zip(x, condition, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, seen=seen: run(v[None], seen[None])[0][0], row
        )
        wanted = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(run(row[None], seen[None])[1][0], wanted)


def test_rows_do_not_depend_on_each_other():
    made, x, condition = flow(), normal(B, 7), normal(B, 7, seed=1)
    z, log_det = made(x, condition)
    alone = [made(x[i : i + 1], condition[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(z, torch.cat([a for a, _ in alone]))
    torch.testing.assert_close(log_det, torch.cat([b for _, b in alone]))


@pytest.mark.parametrize("mode", CONDITIONS)
def test_the_mode_selects_the_blocks_that_get_the_condition(mode):
    """By the width of the networks' inputs, and by whether the output depends on the condition."""
    made, x = flow(8, mode), normal(B, 8)
    widths = [c.by_tail[0].in_features - 4 for c in made.couplings]
    one = {"start": 0, "mid": 1, "end": 2}
    wanted = [0] * 3 if mode == "none" else [8 * (one.get(mode, k) == k) for k in range(3)]
    assert widths == wanted
    n_nets = {"dense_embed": 1, "dense_embed_multi": 3, "dense_embed_multi_stacked": 3}
    assert len(made.conditions.nets) == n_nets.get(mode, 0)
    first, second = (made(x, normal(B, 8, seed=s))[0] for s in (1, 2))
    assert torch.equal(first, second) == (mode == "none")


def test_conditions_through_networks_are_shared_separate_or_stacked():
    rho = normal(B, 7, seed=1)

    def see(mode: str):
        conditions = flow(mode=mode).conditions
        return conditions(rho), conditions.nets

    seen, nets = see("dense_embed")
    assert all(torch.equal(one, nets[0](rho)) for one in seen)
    seen, nets = see("dense_embed_multi")
    assert all(torch.equal(one, net(rho)) for one, net in zip(seen, nets, strict=True))
    seen, nets = see("dense_embed_multi_stacked")
    assert torch.equal(seen[2], nets[2](nets[1](nets[0](rho))))
    assert torch.equal(seen[1], nets[1](seen[0]))


def test_the_gradient_reaches_the_condition():
    made, x = flow(mode="dense_embed_multi"), normal(B, 7)
    condition = normal(B, 7, seed=1).requires_grad_()
    z, log_det = made(x, condition)
    negative_log_likelihood(z, log_det).mean().backward()
    assert (condition.grad.abs() > 0).all()
    assert all((p.grad.abs() > 0).any() for p in made.parameters())


def test_a_block_scales_every_entry_by_at_most_the_clamp():
    raw = torch.tensor([-1e12, -1.0, 0.0, 2.0, 1e12], dtype=torch.float64)
    s = log_scale(raw, 2.0)
    assert s.abs().max() < 2 and (s.diff() > 0).all() and s[2] == 0
    torch.testing.assert_close(s[3], torch.tensor(2 * 0.636 * math.atan(2)).double())
    wild = flow(clamp=0.5)
    with torch.no_grad():
        for p in wild.parameters():
            p.mul_(1e6)
    _, log_det = wild(normal(B, 7), normal(B, 7, seed=1))
    assert (log_det.abs() < 3 * 7 * 0.5).all()


@pytest.mark.parametrize("dim, n_parameters", ((128, 1_402_880), (512, 2_635_520)))
def test_published_sizes_have_as_many_parameters_as_published(dim, n_parameters):
    made = ConditionalFlow(dim)
    assert sum(p.numel() for p in made.parameters()) == n_parameters


def test_permutations_are_buffers_and_use_no_global_generator():
    np.random.seed(5)
    torch.manual_seed(5)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert permutation(8, 1).tolist() == [7, 2, 1, 6, 0, 4, 3, 5]
    assert (np.random.get_state()[1] == states[0]).all()
    assert torch.equal(torch.get_rng_state(), states[1])
    made = flow(8)
    assert torch.equal(made.permutations[0], permutation(8, 0))
    assert "permutations" in made.state_dict()
    assert "permutations" not in dict(made.named_parameters())


def test_xavier_starts_every_layer_but_the_first_without_bias():
    torch.manual_seed(0)
    layers = mlp(40, 30, depth=4, width=50, init="xavier")[::2]
    assert layers[0].bias.abs().max() > 0
    for layer in layers[1:]:
        assert (layer.bias == 0).all()
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
    usual = mlp(40, 30, depth=4, width=50)[::2]
    assert all(layer.bias.abs().max() > 0 for layer in usual)


def test_objectives_equal_their_formulas_and_exp_continues_as_its_tangent():
    nll = torch.tensor([-3.0, 0.5, 7.0], dtype=torch.float64)
    assert flow_objective(nll, 4, "nll").item() == pytest.approx(4.5 / 3)
    assert flow_objective(nll, 4, "nll_per_dim").item() == pytest.approx(4.5 / 12)
    assert flow_objective(nll, 4, "exp").item() == pytest.approx(nll.exp().mean().item(), rel=1e-14)
    far = torch.tensor([29.9, 30.1, 1e5], requires_grad=True)
    value = flow_objective(far, 4, "exp")
    value.backward()
    assert value.isfinite() and far.grad.isfinite().all()
    assert far.grad[1] == far.grad[2] > far.grad[0] > 0
    gradient = math.exp(30) / 3
    assert far.grad[2].item() == pytest.approx(gradient, rel=1e-5)


def test_the_density_of_the_rows_integrates_to_one():
    """On a grid of the plane, with one block so that the density is smooth enough for the grid."""
    made = flow(2, "none", blocks=1, clamp=0.5)
    axis = torch.linspace(-12, 12, 401, dtype=torch.float64)
    with torch.no_grad():
        z, log_det = made(torch.cartesian_prod(axis, axis))
    nll = negative_log_likelihood(z, log_det) + math.log(2 * math.pi)
    assert (-nll).exp().sum().item() * 0.06**2 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "options, message",
    (
        ({"mode": "middle"}, "'middle'"),
        ({"dim": 1}, "2 dimensions"),
        ({"blocks": 0}, "1 block"),
        ({"clamp": 0.0}, "clamp"),
        ({"depth": 1}, "depth"),
        ({"width": 0}, "width"),
        ({"init": "he"}, "'he'"),
    ),
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flow(**options)
    with pytest.raises(ValueError, match="needs a condition"):
        flow()(normal(B, 7))
    with pytest.raises(ValueError, match="'mean'"):
        flow_objective(torch.zeros(2), 2, "mean")


# equal to published code


def conditions(data, case: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, proxies with gradient, normalised proxies of the rows' classes."""
    x = torch.tensor(data[f"{case}/x"]).double().requires_grad_()
    proxies = torch.tensor(data[f"{case}/proxies"]).double().requires_grad_()
    labels = torch.tensor(data[f"{case}/labels"])
    return x, proxies, normalize(proxies)[labels]


def test_latents_and_log_determinants_equal_the_goldens(golden):
    data = golden("dml_nir")
    for case in cases(data):
        made = flow_of(data, case)
        fresh = ConditionalFlow(made.permutations.shape[1], len(made.couplings))
        assert torch.equal(fresh.permutations, made.permutations)
        x, _, rho = conditions(data, case)
        seen = [c for c in made.conditions(rho) if c is not None]
        expected = [data[k] for k in sorted(data) if k.startswith(f"{case}/condition_")]
        for k, one in enumerate(expected):
            torch.testing.assert_close(seen[k], torch.tensor(one), rtol=1e-9, atol=1e-12)
        z, log_det = made(x, rho)
        nll = negative_log_likelihood(z, log_det)
        for name, value in (("latent", z), ("log_det", log_det), ("nll_per_sample", nll)):
            wanted = torch.tensor(data[f"{case}/{name}"])
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-11)
        for objective, name in (("exp", "nir_term_mean_exp"), ("nll", "nll_mean_no_exp")):
            value = flow_objective(nll, x.shape[1], objective).item()
            assert value == pytest.approx(data[f"{case}/{name}"].item(), rel=1e-9)


def test_gradients_of_the_networks_equal_the_goldens(golden):
    """The proxy term does not reach them, so they are those of the whole loss."""
    data = golden("dml_nir")
    for case in cases(data):
        made = flow_of(data, case)
        x, _, rho = conditions(data, case)
        flow_objective(negative_log_likelihood(*made(x, rho)), x.shape[1], "exp").backward()
        parameters = dict(made.named_parameters())
        known = [k for k in data if k.startswith(f"{case}/grad/")]
        assert len(known) == len(parameters)
        for key in known:
            gradient = parameters[ours(key.removeprefix(f"{case}/grad/"))].grad
            torch.testing.assert_close(gradient, torch.tensor(data[key]), rtol=1e-8, atol=1e-10)


def test_the_published_size_equals_its_golden(golden):
    try:
        data = golden("dml_nir_default_size")
    except FileNotFoundError:
        pytest.skip("a golden of 3 MB that no clone carries")
    made = flow_of(data, "default")
    x, _, rho = conditions(data, "default")
    z, log_det = made(x, rho)
    for name, value in (("latent", z), ("log_det", log_det)):
        wanted = torch.tensor(data[f"default/{name}"])
        torch.testing.assert_close(value, wanted, rtol=1e-8, atol=1e-10)
    flow_objective(negative_log_likelihood(z, log_det), x.shape[1], "exp").backward()
    for name, parameter in made.named_parameters():
        theirs = next(k for k in data if "/gradnorm/" in k and ours(k.split("/", 2)[2]) == name)
        assert parameter.grad.norm().item() == pytest.approx(data[theirs].item(), rel=1e-8)
        first = torch.tensor(data[theirs.replace("/gradnorm/", "/grad_first8/")])
        torch.testing.assert_close(parameter.grad.flatten()[:8], first, rtol=1e-7, atol=1e-10)


def test_float32_is_near_float64(golden):
    data = golden("dml_nir")
    for case in cases(data):
        x, _, rho = conditions(data, case)
        z, log_det = flow_of(data, case, torch.float32)(x.float(), rho.float())
        wanted = torch.tensor(data[f"{case}/nll_per_sample"]).float()
        torch.testing.assert_close(
            negative_log_likelihood(z, log_det), wanted, rtol=1e-4, atol=1e-4
        )
