"""Blocks that compute their activations twice learn the same weights with less memory."""

import copy
import functools
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from tests.methods.laws import TinyArch, normal
from tests.training.few_digits import trained
from vmf_embeddings.archs.blocks import blocks
from vmf_embeddings.archs.checkpointing import checkpoint_blocks
from vmf_embeddings.archs.cifar_resnet import ThinResNet
from vmf_embeddings.archs.googlenet import GoogLeNet
from vmf_embeddings.archs.resnet_feature import ResNet10Feature
from vmf_embeddings.untrusted.refused import Refused

HEAD = {"n_classes": 4, "use_vmf": False, "learn_temp": False, "init_temp": 0.0}
HEAD |= {"kappa_confidence": 0.4, "in_channels": 3, "normalize": False}
LOADED = {"pretrained": False, "weights": None, "pool": "avg", "set_bn_eval": False}
has_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")


def timm_net(model, dim=8, **options):
    from vmf_embeddings.archs.timm_net import TimmNet

    rest = {"weights": None, "pool": "own", "set_bn_eval": False}
    return TimmNet(model, dim, **HEAD, **rest, options=options)


NETS = {
    "thin": lambda: ThinResNet(32, depth=14, width=8, **HEAD),
    "torchvision": lambda: ResNet10Feature(512, first_conv_3x3=True, **HEAD, **LOADED),
    "vit": lambda: timm_net(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3,
        proj_drop_rate=0.2, drop_path_rate=0.2,
    ),
    "timm_resnet": lambda: timm_net("resnet10t", drop_path_rate=0.3),
}  # fmt: skip
of_nets = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=has_timm if n in ("vit", "timm_resnet") else ()) for n in NETS],
)


@functools.cache
def net_of(name):
    torch.manual_seed(0)
    return NETS[name]()


def images(n_rows=6):
    return normal(n_rows, 3, 32, 32).float()


def learnt(name, *, twice):
    """State after some steps, random numbers after them, and the gradient of the first."""
    arch = copy.deepcopy(net_of(name)).train()
    if twice:
        checkpoint_blocks(arch)
    optimizer = torch.optim.SGD(arch.parameters(), lr=0.01, momentum=0.9)
    torch.manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        arch(images()).square().mean().backward()
        optimizer.step()
    return dict(arch.state_dict()) | {"next": torch.rand(2)}


@of_nets
def test_weights_statistics_and_draws_are_the_same_to_the_last_bit(name):
    once, twice = learnt(name, twice=False), learnt(name, twice=True)
    assert once.keys() == twice.keys()
    for key, value in once.items():
        assert torch.equal(twice[key], value), key


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made inside had at a time, without those of `others`."""

    def __init__(self, others):
        super().__init__()
        self.others = {tensor.untyped_storage().data_ptr() for tensor in others}
        self.stored, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage.data_ptr() not in self.others:
                self.stored[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes()
        self.stored = {k: v for k, v in self.stored.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.stored.values()))
        return result


def peak(name, *, twice):
    """Bytes of activations, and of the gradients that are computed, at their peak."""
    arch = copy.deepcopy(net_of(name)).train()
    if twice:
        checkpoint_blocks(arch)
    for parameter in arch.parameters():
        parameter.grad = torch.zeros_like(parameter)
    lasting = [t for p in arch.parameters() for t in (p, p.grad)]
    with LiveBytes(lasting) as live:
        arch(images(32)).square().mean().backward()
    return live.peak


@pytest.mark.parametrize("name", ["thin", pytest.param("vit", marks=has_timm)])
def test_memory_falls(name):
    once, twice = peak(name, twice=False), peak(name, twice=True)
    print(f"{name}: {once / 1e6:.1f} MB -> {twice / 1e6:.1f} MB")
    assert twice < 0.6 * once


N_BLOCKS = {"thin": 6, "torchvision": 4, "vit": 3, "timm_resnet": 4}


@of_nets
def test_blocks_are_found_once(name):
    found = blocks(net_of(name))
    assert len(found) == N_BLOCKS[name] == len(set(map(id, found)))


def test_layers_of_an_inception_net_are_found():
    options = {key: value for key, value in HEAD.items() if key != "in_channels"}
    assert len(blocks(GoogLeNet(8, **options, **LOADED))) > 9


@pytest.mark.parametrize("net", [TinyArch(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))])
def test_a_network_without_blocks_is_refused(net):
    assert blocks(net) == []
    with pytest.raises(Refused, match="no residual or transformer blocks"):
        checkpoint_blocks(net)


def test_evaluation_keeps_nothing_and_computes_once():
    arch = copy.deepcopy(net_of("thin"))
    calls = []
    blocks(arch)[0].register_forward_hook(lambda *_: calls.append(1))
    expected = arch.eval()(images())
    checkpoint_blocks(arch)
    with torch.no_grad():
        assert torch.equal(arch(images()), expected)
    assert len(calls) == 2


def test_a_command_without_blocks_is_refused_and_so_is_compilation(tmp_path):
    asked = ["method=normalized_sce", "trainer.activation_checkpointing=true"]
    with pytest.raises(ValueError, match="trainer.activation_checkpointing=true: this network"):
        trained(tmp_path, *asked)
    with pytest.raises(ValueError, match="do not go together"):
        trained(tmp_path, *asked, "trainer.compile=true")
