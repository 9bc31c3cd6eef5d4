"""Two passes: at rho = 0 the base optimizer, else the formula; the same draws, statistics once."""

import copy
import sys
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.library.objective_parts import compose
from vmf_embeddings.methods.feature_scaling import FeatureScaling
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.training.optimizers import restore, sgd, sharpness_aware
from vmf_embeddings.training.sharpness import radii
from vmf_embeddings.training.step import step_for

SETTINGS = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "fused": True}
KINDS = ["sgd", "adamw"]


def sharp(params, base="sgd", rho=0.05, adaptive=False, statistics="once", **changes):
    settings = SETTINGS | {"betas": [0.9, 0.999]} | changes
    return sharpness_aware(
        params, base=base, rho=rho, adaptive=adaptive, batch_statistics=statistics, **settings
    )


def plain(params, base):
    if base == "sgd":
        return sgd(params, **SETTINGS)
    return torch.optim.AdamW(params, lr=0.1, betas=(0.9, 0.999), weight_decay=0.01, fused=True)


class Net(nn.Module):
    """Batch statistics, dropout and a learned temperature under a cross-entropy."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(8, 3)
        self.tau = nn.Parameter(torch.zeros(()))
        self.seen = []

    def groups(self):
        rest = [p for p in self.parameters() if p is not self.tau]
        constant = {"lr": 0.01, "weight_decay": 0.0}
        return [{"params": rest}, {"params": [self.tau], **constant}]

    def forward(self, batch, *, perturb=False):
        features = self.layers(batch["x"])
        self.seen.append(features.detach().clone())
        return nn.functional.cross_entropy(self.head(features) * self.tau.exp(), batch["y"])


class Partly(Net):
    """What says where to look is another loss than what is minimised."""

    def forward(self, batch, *, perturb=False):
        loss = super().forward(batch)
        return self.head.weight.sum() * 3 if perturb else loss


def batch(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(12, 5, generator=draw), "y": torch.arange(12) % 3}


def prepared(net, optimizer):
    accelerator = Accelerator(cpu=True)
    model, wrapped = accelerator.prepare(net, optimizer)
    return step_for(model, wrapped, accelerator)


def trained(make, steps=3, kind=Net):
    net = kind()
    step = prepared(net, make(net.groups()))
    torch.manual_seed(7)
    losses = [float(step(batch(n), 1.0)) for n in range(steps)]
    return net, losses


def values(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("base", KINDS)
@pytest.mark.parametrize("kind", [Net, Partly])
def test_radius_zero_is_the_base_optimizer_to_the_last_bit(base, kind):
    expected, expected_losses = trained(partial(plain, base=base), kind=kind)
    got, losses = trained(partial(sharp, base=base, rho=0.0), kind=kind)
    assert losses == expected_losses
    for name, value in values(expected).items():
        assert torch.equal(values(got)[name], value), name


@pytest.mark.parametrize("adaptive", [False, True])
def test_step_is_the_formula(adaptive):
    """eps = rho g / |g| over all groups; the base's step at w with the gradient at w + eps."""
    net = Net().double().eval()  # no dropout, fixed statistics: a function of the weights alone
    data = {"x": batch()["x"].double(), "y": batch()["y"]}
    slow = copy.deepcopy(net)
    base = plain(slow.groups(), "sgd")
    own = list(slow.parameters())
    step = prepared(net, sharp(net.groups(), rho=0.7, adaptive=adaptive))
    for _ in range(3):
        step(data, 1.0)
        grads = torch.autograd.grad(slow(data), own)
        scales = [p.detach().abs() if adaptive else torch.ones_like(p) for p in own]
        norm = sum((s * g).square().sum() for s, g in zip(scales, grads, strict=True)).sqrt()
        eps = [0.7 * s * s * g / norm for s, g in zip(scales, grads, strict=True)]
        with torch.no_grad():
            for p, e in zip(own, eps, strict=True):
                p.add_(e)
        worst = torch.autograd.grad(slow(data), own)
        with torch.no_grad():
            for p, e, g in zip(own, eps, worst, strict=True):
                p.sub_(e)
                p.grad = g
        base.step()
    for name, value in values(slow).items():
        # the library forms the norm in float32
        torch.testing.assert_close(values(net)[name], value, rtol=1e-6, atol=1e-7, msg=name)


def test_both_passes_make_the_same_draws_and_the_next_step_others():
    net, _ = trained(partial(sharp, rho=1e-6), steps=2)
    first, second, third, _ = [features == 0 for features in net.seen]
    assert torch.equal(first, second)
    assert not torch.equal(second, third)


def test_statistics_move_once_and_at_the_weights_themselves():
    net, once = Net(), Net()
    step = prepared(net, sharp(net.groups(), rho=0.5))
    step(batch(), 1.0)
    once(batch())
    assert torch.equal(net.layers[1].running_mean, once.layers[1].running_mean)
    assert torch.equal(net.layers[1].running_var, once.layers[1].running_var)
    assert int(net.layers[1].num_batches_tracked) == 1


def test_statistics_move_twice_where_the_authors_code_is_wanted():
    net, _ = trained(partial(sharp, rho=0.5, statistics="twice"), steps=1)
    assert int(net.layers[1].num_batches_tracked) == 2


def test_methods_loss_says_where_to_look_and_not_where_to_go():
    net = Partly().eval()
    slow = copy.deepcopy(net)
    step = prepared(net, sharp(net.groups(), rho=0.3, momentum=0.0, weight_decay=0.0))
    step(batch(), 1.0)
    # what says where to look grows along the head's weights alone: each moves by rho / sqrt(n)
    moved = copy.deepcopy(slow)
    moved.head.weight.data += 0.3 / slow.head.weight.numel() ** 0.5
    grad = torch.autograd.grad(moved(batch()), moved.head.bias)[0]
    torch.testing.assert_close(net.head.bias, slow.head.bias - 0.1 * grad)


@pytest.mark.parametrize("base", KINDS)
def test_momentum_survives_a_checkpoint_to_the_last_bit(base):
    whole, _ = trained(partial(sharp, base=base), steps=4)
    net = Net()
    step = prepared(net, sharp(net.groups(), base))
    torch.manual_seed(7)
    for n in range(2):
        step(batch(n), 1.0)
    kept = copy.deepcopy(step.optimizer.state_dict())
    assert all("old_p" not in state for state in kept["state"].values())
    draws = torch.get_rng_state()
    again = Net()
    torch.set_rng_state(draws)
    again.load_state_dict(net.state_dict())
    later = prepared(again, sharp(again.groups(), base))
    restore(later.optimizer.optimizer, kept)
    for n in (2, 3):
        later(batch(n), 1.0)
    for name, value in values(whole).items():
        assert torch.equal(values(again)[name], value), name


def test_radius_grows_by_epochs_and_knows_no_history():
    optimizer = sharp(Net().groups(), rho=[[0, 0.05], [6, 0.1], [61, 0.5]])
    got = []
    for epoch in (0, 5, 6, 60, 61, 99, 3):
        optimizer.begin_epoch(epoch)
        got.append({group["rho"] for group in optimizer.param_groups})
    assert got == [{0.05}, {0.05}, {0.1}, {0.1}, {0.5}, {0.5}, {0.05}]


@pytest.mark.parametrize("rho", [-0.1, [], [[1, 0.1]], [[0, 0.1], [0, 0.2]], [[0, -1.0]]])
def test_unusable_radius_is_refused(rho):
    with pytest.raises(ValueError, match=r"optimizer\.params\.rho"):
        radii(rho)


def test_other_unusable_values_are_refused():
    with pytest.raises(ValueError, match=r"optimizer\.params\.base"):
        sharp(Net().groups(), base="lion")
    with pytest.raises(ValueError, match=r"optimizer\.params\.batch_statistics"):
        sharp(Net().groups(), statistics="never")


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    monkeypatch.delitem(sys.modules, "vmf_embeddings.training.sharpness")
    with pytest.raises(ValueError, match="pip install 'pytorch-optimizer"):
        sharp(Net().groups())


def test_scaled_gradients_are_refused():
    net = Net()
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(net, sharp(net.groups()))
    monkey = type("Scaling", (), {"scaler": object()})()
    with pytest.raises(ValueError, match="unscaled"):
        step_for(model, optimizer, monkey)


def vmf_softmax_after_steps(make):
    """A learned temperature, draws in the loss, and factors on the embeddings."""
    torch.manual_seed(0)
    options = {"n_samples": 4, "normalizer": "exact", "vmf_sampler": "exact"}
    options |= {"estimator": "auto", "kappa_init": "exact"}
    method = VMFSoftmax(TinyArch(use_vmf=True, learn_temp=True), **options)
    method.feature_scaling = FeatureScaling("rank", 0.5, None)
    method.feature_scaling.prepare(torch.tensor([9, 7, 5, 3, 1]))
    method.train()
    step = prepared(method, make(method.param_groups(0.01)))
    for n in range(3):
        step({"examples": normal(10, 1, 4, 4, seed=n).float(), "ids": torch.arange(10) % 5}, 1.0)
    return values(method)


def test_losses_with_draws_and_scaled_features_are_the_base_optimizers_at_radius_zero():
    expected = vmf_softmax_after_steps(partial(plain, base="sgd"))
    got = vmf_softmax_after_steps(partial(sharp, rho=0.0))
    other = vmf_softmax_after_steps(partial(sharp, rho=0.1))
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert not torch.equal(other["class_parameters.tau"], expected["class_parameters.tau"])


KEEP_ROWS = {
    "cider": {"momentum": 0.5},
    "siren": {"momentum": 0.5},
    "contrastive": {"memory_size": 7},
    "proco": {"views": 1, "projection_dim": 4},
    "paco": {"views": 1, "projection_dim": 4, "queue": 7},
}


@pytest.mark.parametrize("name", KEEP_ROWS)
def test_state_of_the_rows_moves_once_a_step(name):
    def after_steps(make):
        torch.manual_seed(0)
        method = compose(name, KEEP_ROWS[name]).build(TinyArch())
        method.set_class_counts(torch.tensor([9, 7, 5, 3, 1]))
        method.train()
        method.begin_epoch(0)
        step = prepared(method, make(method.param_groups(0.01)))
        for n in range(3):
            images = normal(10, 1, 4, 4, seed=n).float()
            step({"examples": images, "ids": torch.arange(10) % 5}, 1.0)
        return values(method)

    expected = after_steps(partial(plain, base="sgd"))
    got = after_steps(partial(sharp, rho=0.0))
    assert all(torch.equal(got[key], value) for key, value in expected.items())
