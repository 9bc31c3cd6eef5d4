"""Nets of many kinds compute in several processes over gloo what they compute in one."""

import functools
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional

from vmf_embeddings.training.batch_statistics import global_batch_norm, share_batch_statistics
from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.untrusted.refused import Refused

ROWS = 7  # two processes have 4 and 3 rows, three have 3, 2 and 2


class NormAndSwish(nn.BatchNorm2d):
    """A layer that does more than its base class, with an own option."""

    def __init__(self, channels, gain):
        super().__init__(channels)
        self.gain = gain

    def forward(self, input):
        return self.gain * functional.silu(super().forward(input))


class Frozen(nn.BatchNorm2d):
    """Normalises by its running statistics also in training."""

    def forward(self, input):
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False
        )


class FrozenByHand(nn.BatchNorm2d):
    """The same without torch's function."""

    def forward(self, input):
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return input * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


class ByHand(nn.BatchNorm2d):
    """Computes and tracks batch statistics without torch's function."""

    def forward(self, input):
        variance = input.var((0, 2, 3))
        if self.training:
            self.running_var.lerp_(variance.detach(), 0.1)
        return input / variance.sqrt().view(1, -1, 1, 1)


def with_layers(*norms, flat=None):
    """Convolutions, each with a normalisation, then a flat part."""
    layers = []
    for i, norm in enumerate(norms):
        layers += [nn.Conv2d(3 if i == 0 else 6, 6, 3, padding=1), norm]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), *(flat or []))


def volumes():
    """Normalisation of [B, C, D, H, W], [B, C, L] and [B, C]."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Flatten(2), nn.ReLU(),
        nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(144, 5), nn.BatchNorm1d(5, momentum=None),
    )  # fmt: skip


OURS = {
    "plain": lambda: with_layers(nn.BatchNorm2d(6), nn.BatchNorm2d(6, momentum=None)),
    "without_parameters": lambda: with_layers(nn.BatchNorm2d(6, affine=False)),
    "untracked": lambda: with_layers(nn.BatchNorm2d(6, track_running_stats=False)),
    "own_forward": lambda: with_layers(NormAndSwish(6, 1.5), NormAndSwish(6, 0.5)),
    "frozen": lambda: with_layers(nn.BatchNorm2d(6), Frozen(6), FrozenByHand(6)),
    "groups_and_instances": lambda: with_layers(nn.GroupNorm(2, 6), nn.InstanceNorm2d(6)),
    "volumes": volumes,
}
# one net of each of timm's families that normalise in a way of their own, none too large
TIMM = (
    *(
        "resnet10t",
        "mobilenetv3_small_050",
        "resnet18",
        "efficientnet_b0",
        "regnetx_002",
        "densenet121",
    ),
    *("convnext_atto", "resnetv2_50", "nf_resnet26", "ghostnet_050", "hardcorenas_a", "levit_128s"),
    *("repvgg_a0", "mixnet_s", "fastvit_t8", "rexnet_100", "lcnet_035"),
)
FAST = ("resnet10t", "mobilenetv3_small_050")


def net_of(name):
    torch.manual_seed(0)
    if name in OURS:
        net = OURS[name]()
    else:
        from vmf_embeddings.archs.timm_library import library

        net = library().create_model(name, num_classes=5, drop_rate=0.0)
    net = net.double()
    with torch.no_grad():
        for x in (*net.parameters(), *net.buffers()):  # zeros and ones would hide mistakes
            if x.is_floating_point() and x.ndim == 1:
                x.add_(0.3 * torch.rand_like(x))
    return net


def images_for(name):
    side = {"levit_128s": 224}.get(name, 8 if name in OURS else 48)
    return torch.randn(ROWS, 3, side, side, generator=torch.Generator().manual_seed(1)).double()


def learnt(name, rank=0, world=1):
    """Outputs of the whole batch in both modes, gradients and statistics after two batches."""
    net, images = net_of(name), images_for(name)
    if world > 1:
        share_batch_statistics(net)
    net.train()
    for factor in (1.0, 0.5):
        net.zero_grad()
        own = net(factor * images[rank::world])
        slopes = torch.randn(ROWS, *own.shape[1:], generator=torch.Generator().manual_seed(2))
        (own * slopes.double()[rank::world]).sum().backward()
    found = {}
    for key, p in net.named_parameters():
        grad = torch.zeros_like(p) if p.grad is None else p.grad.clone()
        if world > 1:
            torch.distributed.all_reduce(grad)
        found[f"gradient of {key}"] = grad
    found |= {key: b.clone().double() for key, b in net.named_buffers()}
    found["output in training"] = gather_rows(own.detach(), rank, world, ROWS)
    if name != "untracked":
        with torch.no_grad():
            found["output"] = gather_rows(net.eval()(images[rank::world]), rank, world, ROWS)
    return found


def refusal():
    net = with_layers(ByHand(6))
    share_batch_statistics(net)
    try:
        net(torch.randn(2, 3, 4, 4))
    except Refused as error:
        return str(error)
    return None


def names():
    """The nets of the quick test."""
    return (*OURS, *(FAST if find_spec("timm") else ()))


def all_names():
    """The nets of the slow test."""
    return (*OURS, *(TIMM if find_spec("timm") else ()))


def exchanges():
    """How often processes exchange numbers in the forward and the backward pass of a layer."""
    net, counts = with_layers(nn.BatchNorm2d(6)), []
    share_batch_statistics(net)
    original = torch.distributed.all_reduce
    torch.distributed.all_reduce = lambda *given: (counts.append(1), original(*given))
    try:
        output = net(torch.randn(2, 3, 4, 4))
        forward = len(counts)
        output.sum().backward()
    finally:
        torch.distributed.all_reduce = original
    return forward, len(counts) - forward


def far_from_zero(rank, world):
    """A layer's output of float32 rows whose mean is 10,000 times their deviation."""
    images = 1e4 + images_for("plain").float()
    layer = nn.BatchNorm2d(3)
    share_batch_statistics(layer)
    return gather_rows(layer(images[rank::world]).detach(), rank, world, ROWS)


def of_process(rank, world, folder):
    found = {name: learnt(name, rank, world) for name in names()}
    return found | {"exchanges": exchanges(), "far": far_from_zero(rank, world)}


def of_process_with_all_families(rank, world, folder):
    return {
        name: learnt(name, rank, world) for name in (*OURS, *(TIMM if find_spec("timm") else ()))
    }


def assert_alike(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-8 * scale + 1e-9, msg=name)


@functools.cache
def alone(name):
    return learnt(name)


@pytest.mark.parametrize("name", names())
def test_two_processes_compute_what_one_does(of_two_processes, name):
    for each in of_two_processes["test_batch_statistics"]:
        assert_alike(each[name], alone(name))


def test_a_layer_needs_one_exchange_forward_and_one_backward(of_two_processes):
    for each in of_two_processes["test_batch_statistics"]:
        assert each["exchanges"] == (1, 1)


def test_the_variance_survives_a_mean_far_from_zero(of_two_processes):
    images = (1e4 + images_for("plain").float()).double()
    expected = nn.BatchNorm2d(3).double()(images).float()
    for each in of_two_processes["test_batch_statistics"]:
        # float32 numbers near 10,000 are 0.001 apart
        torch.testing.assert_close(each["far"], expected, rtol=0, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", all_names())
def test_more_families_in_more_processes_compute_what_one_does(of_several, name):
    for each in of_several["test_batch_statistics"]:
        assert_alike(each[name], alone(name))


def test_a_layer_with_batch_statistics_of_its_own_is_refused_by_name():
    assert "ByHand computes batch statistics in its own way" in refusal()


def test_an_own_forward_pass_stays_and_so_do_the_keys_of_the_state():
    net = with_layers(NormAndSwish(6, 1.5), Frozen(6))
    keys, images = list(net.state_dict()), torch.randn(3, 3, 4, 4)
    net.eval()
    before = net(images)
    share_batch_statistics(net)
    share_batch_statistics(net)  # a second time changes nothing
    assert list(net.state_dict()) == keys
    assert isinstance(net[1], NormAndSwish) and isinstance(net[3], Frozen)
    assert torch.equal(net(images), before)


def test_outside_of_training_it_is_torchs_function():
    x, mean, var = torch.randn(4, 3), torch.randn(3), torch.rand(3)
    expected = functional.batch_norm(x, mean, var, None, mean, False, 0.1, 1e-3)
    assert torch.equal(global_batch_norm(x, mean, var, None, mean, False, 0.1, 1e-3), expected)
