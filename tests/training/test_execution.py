"""Execution settings change how a run is computed, not the keys and values of its state."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vmf_embeddings.datasets.arrays import ArraySplit
from vmf_embeddings.training.execution import ExecutionSettings

PLAIN = ExecutionSettings(
    precision="no", cpu=True, threads=None, channels_last=False, compile=False,
    data_on_device="auto",
)  # fmt: skip
GPU = torch.device("cuda", 0)


def small_net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5))


def configured(**changes):
    net = small_net()
    replace(PLAIN, **changes).configure_backbone(net)
    return net


def is_channels_last(net):
    return net[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_changes_the_layout_and_not_the_numbers():
    plain, other = small_net().double(), configured(channels_last=True).double()
    assert is_channels_last(other) and not is_channels_last(plain)
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(other(x), plain(x), rtol=1e-12, atol=1e-12)


def test_images_need_not_be_brought_into_the_layout():
    """A convolution does it: so no batch is copied by the loop."""
    net, x = configured(channels_last=True).eval(), torch.randn(6, 3, 8, 8)
    assert torch.equal(net(x), net(x.to(memory_format=torch.channels_last)))
    assert net[0](x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("precision", "expected"), [("no", False), ("bf16", True)])
def test_automatic_layout_follows_the_precision(precision, expected):
    net = small_net()
    replace(PLAIN, channels_last="auto", precision=precision).configure_backbone(net)
    assert is_channels_last(net) is expected


@pytest.mark.slow
def test_names_in_the_state_stay_and_load_either_way():
    plain, other = small_net(), configured(compile=True, channels_last=True)
    assert list(other.state_dict()) == list(plain.state_dict())
    other.load_state_dict(plain.state_dict())
    plain.load_state_dict(other.state_dict())


def test_missing_compiler_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match=r"C\+\+ compiler .*leave trainer.compile=false"):
        replace(PLAIN, compile=True)


def colours(n=6):
    images = torch.arange(n * 3 * 4 * 4, dtype=torch.uint8).view(n, 3, 4, 4)
    return ArraySplit(images, torch.arange(n) % 2, identity="", n_classes=2, open_set=True)


@pytest.mark.parametrize(
    "wanted, free, moved",
    [("auto", 10**6, True), ("auto", 600, False), (True, 600, True), (False, 10**6, False)],
)
def test_images_move_to_the_gpu_where_allowed_if_they_fit(monkeypatch, wanted, free, moved):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
    split = SimpleNamespace(in_memory=True, n_bytes=288, to=lambda device: device)
    assert (replace(PLAIN, data_on_device=wanted).move_split(split, GPU) is GPU) is moved


def test_image_files_stay_and_so_do_images_of_a_run_on_the_cpu():
    files = SimpleNamespace(in_memory=False)
    assert PLAIN.move_split(files, GPU) is files
    split = colours()
    assert replace(PLAIN, data_on_device=True).move_split(split, torch.device("cpu")) is split


def test_moved_split_makes_its_batches_there_and_leaves_the_first_alone():
    """The meta device stands for a GPU: it has shapes and places, and no numbers."""
    split = colours()
    moved = split.to(torch.device("meta"))
    batch = moved.batch(torch.tensor([4, 1]))
    assert {key: value.device.type for key, value in batch.items()} == dict.fromkeys(batch, "meta")
    assert batch["examples"].shape == (2, 3, 4, 4)
    assert split.batch(torch.tensor([4, 1]))["ids"].tolist() == [0, 1]
    assert moved.class_counts.tolist() == [3, 3] and moved.identity == split.identity


@pytest.mark.slow
def test_compiled_net_gives_the_numbers_and_gradients_of_the_plain_one():
    x = torch.randn(6, 3, 8, 8)
    results = []
    for net in (small_net(), configured(compile=True)):
        value = net(x)
        value.square().sum().backward()
        results.append((value, [p.grad for p in net.parameters()]))
    for got, expected in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-6)
