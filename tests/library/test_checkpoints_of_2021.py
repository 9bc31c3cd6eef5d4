"""Checkpoints whose keys are those of the nets of 2021, written by nets built here."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vmf_embeddings as vmf
import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.methods.laws import normal
from tests.quick_cases import mostly_slow
from vmf_embeddings.training import checkpoint

C, TAU, SCALE = 7, -0.75, 3.5
METHODS = ("unnormalized_sce", "normalized_sce", "arcface", "hyperbolic_sce", "vmf_softmax")


class Net(nn.Module):
    """What was saved: `temp` if it is learned, and an encoder whose last layer are the classes."""

    def __init__(self, encoder: nn.Sequential) -> None:
        super().__init__()
        self.temp = nn.Parameter(torch.full((1, 1), TAU))
        self.encoder = encoder


class HyperbolicClasses(nn.Module):
    """Offsets and normals of the hyperbolic method."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.a_vals, self.p_vals = (nn.Parameter(normal(C, dim, seed=s).float()) for s in (1, 2))


def digit_net() -> Net:
    return Net(
        nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(784, 120), nn.BatchNorm1d(120), nn.ReLU(),
            nn.Linear(120, 3), nn.Linear(3, C, bias=False),
        )
    )  # fmt: skip


def residual_net() -> Net:
    """Every layer is there twice, under its own name and in the encoder."""
    from torchvision.models import resnet50

    trunk = resnet50(weights=None)
    trunk.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    own = {n: getattr(trunk, n) for n in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")}
    own |= {"remap": nn.Linear(2048, 16), "classifier": nn.Linear(16, C, bias=False)}
    blocks = [own[f"layer{i}"] for i in (1, 2, 3, 4)]
    net = Net(
        nn.Sequential(
            own["conv1"], own["bn1"], nn.ReLU(), trunk.maxpool, *blocks,
            nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), own["remap"], own["classifier"],
        )
    )  # fmt: skip
    for name, layer in own.items():
        net.add_module(name, layer)
    return net


NETS: dict[str, tuple[Callable[[], Net], list[str], tuple[int, ...]]] = {
    "n_digit_mnist": (digit_net, ["arch.params.embedding_dim=3"], (4, 1, 28, 28)),
    "resnet50": (
        residual_net,
        ["arch.params.embedding_dim=16", "arch.params.first_conv_3x3=True",
         "arch.params.pretrained=False", "arch.params.set_bn_eval=False"],
        (4, 3, 16, 16),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def nets() -> dict[str, Net]:
    torch.manual_seed(0)
    return {arch: make().eval() for arch, (make, _, _) in NETS.items()}


def saved(net: Net, method: str, path) -> None:
    """What the code of 2021 would have written of this net, trained by this method."""
    state = dict(net.state_dict())
    if method in ("unnormalized_sce", "hyperbolic_sce"):
        del state["temp"]  # was a parameter only where it was learned
    if method == "hyperbolic_sce":
        planes = HyperbolicClasses(net.encoder[-1].in_features).state_dict()
        state |= {f"mlr.{name}": tensor for name, tensor in planes.items()}
    best = {"epoch": 9, "train_loss": 0.5, "valid_acc": 0.75}
    scale = SCALE if method == "vmf_softmax" else 1.0
    whole = {"epoch": 9, "best_epoch": best, "arch_state_dict": state, "z_kappa_mult": scale}
    checkpoint.save(path, whole)


def words(method: str, arch: str) -> list[str]:
    learned = method not in ("unnormalized_sce", "hyperbolic_sce")
    options = [
        f"arch.params.use_vmf={method == 'vmf_softmax'}",
        f"arch.params.learn_temp={learned}",
    ]
    return [f"method={method}", f"arch={arch}", *options, *NETS[arch][1]]


EVERY = [(method, arch) for method in METHODS for arch in NETS]


@pytest.mark.parametrize(
    ("method", "arch"),
    mostly_slow(EVERY, lambda case: case[1] != "resnet50" or case[0] == "vmf_softmax"),
)
def test_every_method_and_net_of_2021_loads(method, arch, nets, tmp_path):
    net, shape = nets[arch], NETS[arch][2]
    saved(net, method, tmp_path / "model_9.pt")
    run = vmf.load(tmp_path / "model_9.pt", overrides=words(method, arch))
    images = normal(*shape).float()
    with torch.no_grad():
        raw = net.encoder[:-1](images)
    scale = SCALE if method == "vmf_softmax" else 1.0
    np.testing.assert_allclose(run.embed(images), scale * raw.numpy(), rtol=2e-4, atol=2e-5)
    assert run.n_classes == C
    check_classes(run.module, net.encoder[-1].weight, method)


def check_classes(module: nn.Module, weights: Tensor, method: str) -> None:
    """Class parameters and temperature are those of the checkpoint."""
    if method == "hyperbolic_sce":
        planes = HyperbolicClasses(weights.shape[1])
        assert torch.equal(module.a_vals, planes.a_vals)
        assert torch.equal(module.p_vals, planes.p_vals)
        return
    assert torch.equal(module.class_parameters.weight, weights)
    if method != "unnormalized_sce":
        assert float(module.class_parameters.tau) == TAU


def test_a_checkpoint_without_its_last_layer_is_refused(nets, tmp_path):
    saved(nets["n_digit_mnist"], "normalized_sce", tmp_path / "model_9.pt")
    state = torch.load(tmp_path / "model_9.pt", weights_only=True)
    del state["arch_state_dict"]["encoder.13.weight"]
    checkpoint.save(tmp_path / "model_9.pt", state)
    with pytest.raises(ValueError, match="no encoder.13.weight"):
        vmf.load(tmp_path / "model_9.pt", overrides=words("normalized_sce", "n_digit_mnist"))
