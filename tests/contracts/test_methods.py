"""The contract of every method, found through `conf/method/*.yaml`."""

import importlib
import inspect
import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

import vmf_embeddings
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.catalogue import options_inside
from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.losses.ce import CrossEntropy

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "method"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}
B, C, D = 24, 5, 3
EPOCHS = 60
NEEDS_ADAM = {"nir"}  # the gradient of an exponential has no fixed scale
LIBRARIES = {"pml": "pytorch_metric_learning"}  # of methods that are extras
every_method = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"needs {LIBRARIES.get(name)}"))
        for name in NODES
        for missing in [name in LIBRARIES and find_spec(LIBRARIES[name]) is None]
    ],
)


def method_class(name: str) -> type:
    module, _, attribute = NODES[name]["params"]["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def wrapped_by(name: str) -> dict[str, str]:
    """Parameter -> the method that it holds, where the yaml wraps one."""
    inside = options_inside(NODES[name].get("defaults", []))
    return {key: method for key, (group, method) in inside.items() if group == "method"}


def make(name: str, arch: TinyArch):
    return method_class(name)(arch, **options_of(name))


def options_of(name: str) -> dict:
    """What the yaml says, a student among it, and what the groups bring that it reads."""
    options = {key: value for key, value in NODES[name]["params"].items() if key != "_target_"}
    for key, method in wrapped_by(name).items():
        options[key] = partial(make, method)
    parts = method_class(name).parts(options)
    if "head" in parts:
        options["head"] = partial(LinearHead, bias=True)
    if "loss" in parts:
        options["loss"] = CrossEntropy()
    if "criterion" in parts:
        options |= {"criterion": ProxyAnchor(32, 32, 0.1, -0.1, "samples", 1), "miner": None}
    return options


def build(name: str, *, learn_temp: bool = True):
    """The method with the options of its yaml on a tiny backbone, prepared as before a training."""
    torch.manual_seed(0)
    target = method_class(name)
    head = {"use_vmf": target.uses_vmf, "learn_temp": learn_temp, "init_temp": -2.0}
    method = make(name, TinyArch(C, D, **head))
    if target.has_teacher():
        method.set_teacher(build("unnormalized_sce"))
    method.configure(margin_warmup_epochs=0, n_epochs=EPOCHS)
    method.prepare(lambda: images().split(16), torch.bincount(labels()))
    method.begin_epoch(EPOCHS // 2)
    return method


def images() -> torch.Tensor:
    return normal(B, 1, 4, 4).float()


def labels() -> torch.Tensor:
    return torch.arange(B) % C


def batch(name: str) -> dict[str, torch.Tensor]:
    """A training batch of as many views as the method asks for."""
    views = method_class(name).batch_layout.views
    examples = torch.stack([images()] * views, 1) if views > 1 else images()
    return {"examples": examples, "ids": labels()}


@every_method
def test_yaml_names_its_file_and_exactly_the_options_of_the_constructor(name):
    node, target = NODES[name], method_class(name)
    assert node["name"] == name
    options = {p for p in inspect.signature(target).parameters if p != "arch"}
    assert options == set(options_of(name))
    assert build(name).name == target.__module__.rpartition(".")[2]


@every_method
def test_every_yaml_opens_with_its_paper_and_explains_each_parameter(name):
    first, *rest = (CONF / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# ") and "https://" in first
    options = [line for line in rest if line.startswith("  ") and "_target_" not in line]
    assert all(" # " in line for line in options)


@every_method
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_loss_is_a_finite_scalar_of_the_dtype_of_the_embeddings(name, dtype):
    method = build(name).to(dtype)
    embeddings = method.embed(images().to(dtype))
    assert embeddings.shape == (B, D)
    assert embeddings.dtype == dtype
    loss = method.loss(embeddings, labels())
    assert loss.shape == ()
    assert loss.dtype == dtype
    assert torch.isfinite(loss)


@every_method
def test_loss_ignores_batch_order(name):
    """Methods that draw are compared by the means of many losses, within 5 standard errors."""
    method = build(name).double()
    embeddings = method.embed(images().double()).detach()
    order = torch.randperm(B)
    pairs = (embeddings, labels()), (embeddings[order], labels()[order])
    with torch.no_grad():
        losses = torch.stack([torch.stack([method.loss(*p) for p in pairs]) for _ in range(60)])
    difference = losses[:, 0] - losses[:, 1]
    assert difference.mean().abs() <= 5 * difference.std() / 60**0.5 + 1e-12


@every_method
def test_loss_depends_on_the_labels(name):
    method = build(name).double()
    embeddings = method.embed(images().double()).detach()
    torch.manual_seed(0)
    right = method.loss(embeddings, labels())
    torch.manual_seed(0)
    assert not torch.allclose(right, method.loss(embeddings, (labels() + 1) % C))


@every_method
def test_training_lowers_the_loss(name):
    method = build(name)
    groups = method.param_groups(1e-3)
    if name in NEEDS_ADAM:
        optimizer = torch.optim.Adam(groups, lr=0.01)
    else:
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(EPOCHS):
        method.begin_epoch(epoch)
        optimizer.zero_grad()
        loss = method(batch(name))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5


@every_method
def test_groups_are_a_partition_and_every_parameter_gets_a_gradient(name):
    method = build(name)
    grouped = [p for group in method.param_groups(0.1) for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters()}
    method(batch(name)).backward()
    for key, parameter in method.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if not key.endswith("arch.hidden.bias"):  # BatchNorm takes it out again
            assert parameter.grad.abs().max() > 0, key


@every_method
def test_state_dict_restores_parameters_and_buffers(name):
    method, other = build(name), build(name)
    with torch.no_grad():
        for tensor in (*method.parameters(), *method.buffers()):
            tensor.add_(1)
    other.load_state_dict(method.state_dict())
    mine, theirs = method.state_dict(), other.state_dict()
    assert set(mine) >= {key for key, _ in method.named_parameters()}
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    method.eval(), other.eval()
    assert torch.equal(method.embed(images()), other.embed(images()))


@every_method
@pytest.mark.parametrize("learn_temp", (True, False))
def test_predictions_are_probabilities_of_the_classes(name, learn_temp):
    method = build(name, learn_temp=learn_temp).eval()
    with torch.no_grad():
        embeddings = method.embed(images())
        logits, probabilities = method.logits(embeddings), method.predict(embeddings)
    assert logits.shape[0] == B and logits.shape[-1] == C and logits.ndim in (2, 3)
    assert probabilities.shape == (B, C)
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(B))


@every_method
def test_class_weights_and_temperature_have_their_shapes(name):
    method = build(name)
    assert method.class_weights is None or method.class_weights.shape == (C, D)
    assert method.temperature.shape == ()
    assert method.temperature > 0
    assert all(isinstance(value, float) for value in method.status().values())


@every_method
def test_geometry_comes_back_from_an_embedding_file(name):
    geometry = build(name).geometry
    assert from_meta(json.loads(json.dumps(geometry.to_meta()))) == geometry


@every_method
def test_mathematics_stays_in_float32_under_autocast(name):
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = method.embed(images())
        loss, logits = method.loss(embeddings, labels()), method.logits(embeddings)
    assert embeddings.dtype == loss.dtype == logits.dtype == torch.float32


@every_method
def test_an_agreeing_vmf_flag_or_none_is_accepted(name):
    wanted = method_class(name).uses_vmf
    for use_vmf in (None, wanted):
        assert make(name, TinyArch(C, D, use_vmf=use_vmf)).uses_vmf == wanted


@every_method
def test_a_wrong_vmf_flag_is_refused_with_the_words_to_type(name):
    wanted = method_class(name).uses_vmf
    named = next(iter(wrapped_by(name).values()), name)
    with pytest.raises(ValueError) as error:
        make(name, TinyArch(C, D, use_vmf=not wanted))
    assert str(error.value) == (
        f"method={named} needs arch.params.use_vmf={wanted}, got {not wanted}; "
        f"leave arch.params.use_vmf out of the command, or say arch.params.use_vmf={wanted}."
    )
