"""Every objective in a plain loop equals the same objective in a training step, to the last bit."""

import copy
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

import vmf_embeddings as vmf
from tests.methods.laws import normal
from tests.quick_cases import mostly_slow
from vmf_embeddings import catalogue
from vmf_embeddings.archs.given import GivenEmbeddings
from vmf_embeddings.cli import assembly, overrides
from vmf_embeddings.library.objective_parts import GROUPS
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.mixing import mix_views

B, C, D, F = 12, 4, 6, 9
COUNTS = [40, 20, 9, 3]
LABELS = torch.arange(B) % C
N_EPOCHS = 10
assembly.register_resolvers()


def names() -> list:
    """All of `objectives()`; those of a library that is not installed are skipped."""
    missing = find_spec("pytorch_metric_learning") is None
    skip = pytest.mark.skipif(missing, reason="needs pytorch_metric_learning")
    return [pytest.param(n, marks=skip) if n == "pml" else n for n in vmf.objectives()]


@cache
def composed(typed: tuple[str, ...]) -> DictConfig:
    return overrides.composed(list(typed))


def group_of(key: str) -> tuple[str, str]:
    wanted, _, name = key.rpartition("/")
    return next((g, name) for g in GROUPS if wanted in ("", g) and name in catalogue.names(g))


def by_the_command_line(key: str) -> Method:
    """The method that a command line with this objective builds, on embeddings as its images."""
    group, name = group_of(key)
    typed = [f"{group}={name}"]
    if group != "method":
        typed.append(f"method={'dml' if group == 'criterion' else 'classifier'}")
    if name == "ldam":
        typed.append("head=cosine")
    cfg = copy.deepcopy(composed(tuple(typed)))
    has_tau = group == "method" and name not in ("classifier", "dive", "dml", "fsgl", "nir", "pml")
    spec = {"_target_": "vmf_embeddings.archs.base.ClassSpec", "n_classes": C, "embedding_dim": D}
    spec |= {"learn_temp": has_tau, "use_vmf": name in ("vmf_softmax", "elk", "nivmf")}
    params = {"_target_": "vmf_embeddings.archs.given.GivenEmbeddings", "class_spec": spec}
    with open_dict(cfg):
        cfg.arch = OmegaConf.create({"name": "identity", "params": params | {"n_features": F}})
    method = assembly.method(cfg, None, pretrained=False)
    method.configure(margin_warmup_epochs=0, n_epochs=N_EPOCHS)
    method.set_class_counts(torch.tensor(COUNTS))
    if method.feature_scaling is not None:
        method.feature_scaling.prepare(torch.tensor(COUNTS))
    return method


def built_twice(key: str) -> tuple[vmf.Objective, Method]:
    """The objective and the method from the same seed, in float64, class means fitted."""
    torch.manual_seed(0)
    ours = vmf.objective(
        key, embedding_dim=D, n_classes=C, n_features=F, n_epochs=N_EPOCHS, class_counts=COUNTS
    ).double()
    torch.manual_seed(0)
    theirs = by_the_command_line(key).double()
    if "class means" in ours.needs:
        rows = normal(40, D, seed=5)
        ours.fit(rows, torch.arange(40) % C)
        theirs.classifier.fit(rows, torch.arange(40) % C)
    if "class weights" in ours.needs:
        ours.set_class_weights(theirs.classifier.weight, theirs.classifier.bias)
    return ours, theirs


def gradients(module: torch.nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def assert_same(ours: vmf.Objective, theirs: Method, mine: Tensor, its: Tensor) -> None:
    """Loss, gradient of the embeddings and gradients of all parameters."""
    (own, rows), (other, images) = mine, its
    assert torch.isfinite(own) and torch.equal(own, other)
    if own.requires_grad:
        own.backward(), other.backward()
        torch.testing.assert_close(rows.grad, images.grad, rtol=0, atol=0)
    found, wanted = gradients(ours.method), gradients(theirs)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=0)


def leaf(*shape: int, seed: int = 1) -> Tensor:
    return normal(*shape, seed=seed).requires_grad_()


def context(ours: vmf.Objective, theirs: Method, rows: Tensor) -> dict[str, Tensor]:
    """What the call needs besides; the training step finds it by itself."""
    if "features" in ours.needs:
        features = normal(B, F, seed=2)
        theirs.arch.features = lambda images: features
        theirs.arch.project = lambda _: rows
        return {"features": features}
    if "teacher_logits" in ours.needs:
        torch.manual_seed(3)
        teacher = by_the_command_line("unnormalized_sce").double()
        theirs.set_teacher(teacher)
        return {"teacher_logits": teacher.unadjusted_logits(rows.detach()).detach()}
    return {}


@pytest.mark.parametrize("key", mostly_slow(names(), names()[::3]))
def test_an_objective_in_ones_own_loop_equals_the_training_step(key):
    if key == "fsgl":
        pytest.skip("its batch is made of mixed images: the next test")
    ours, theirs = built_twice(key)
    for epoch in (0, N_EPOCHS - 1):
        ours.zero_grad(), theirs.zero_grad()
        ours.begin_epoch(epoch), theirs.begin_epoch(epoch)
        rows, images = leaf(B, D), leaf(B, D)
        given = context(ours, theirs, images)
        torch.manual_seed(4)
        own = ours(rows, LABELS, **given)
        torch.manual_seed(4)
        other = theirs({"examples": images, "ids": LABELS})
        assert_same(ours, theirs, (own, rows), (other, images))


def test_fsgl_on_mixed_embeddings_equals_its_training_step(monkeypatch):
    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.ndim == 4 else images

    monkeypatch.setattr(GivenEmbeddings, "features", features)
    ours, theirs = built_twice("fsgl")
    ours.begin_epoch(N_EPOCHS // 2), theirs.begin_epoch(N_EPOCHS // 2)
    views, labels = normal(B, 2, 1, 2, 3), LABELS
    torch.manual_seed(4)
    other = theirs({"examples": views, "ids": labels})
    torch.manual_seed(4)
    mixtures = mix_views(views, labels, C, theirs.beta, adjust_lambda=theirs.adjust_lambda)
    rows = torch.stack([m.images.flatten(1) for m in mixtures], 1)
    own = ours(rows, torch.stack([m.labels for m in mixtures], 1))
    assert torch.equal(own, other)
    own.backward(), other.backward()
    for name, gradient in gradients(theirs).items():
        torch.testing.assert_close(gradients(ours.method)[name], gradient, rtol=0, atol=0)


@pytest.mark.parametrize("key", mostly_slow(names(), names()[::3]))
def test_param_groups_hold_every_trainable_parameter_once_with_a_learning_rate(key):
    ours, _ = built_twice(key)
    groups = ours.param_groups(lr=0.1, temp_lr=0.01)
    grouped = [id(p) for group in groups for p in group["params"]]
    trainable = [id(p) for p in ours.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert all("lr_factor" not in group and group["lr"] >= 0 for group in groups)
    if trainable:
        for optimizer in (torch.optim.AdamW, torch.optim.SGD):
            optimizer(ours.param_groups(lr=0.1), lr=0.1).step()


@pytest.mark.parametrize("key", mostly_slow(names(), names()[::3]))
def test_a_state_dict_makes_a_fresh_objective_the_same(key):
    ours, _ = built_twice(key)
    fresh = vmf.objective(
        key, embedding_dim=D, n_classes=C, n_features=F, n_epochs=N_EPOCHS
    ).double()
    fresh.load_state_dict(ours.state_dict())
    ours.begin_epoch(3), fresh.begin_epoch(3)
    given = {}
    if "features" in ours.needs:
        given["features"] = normal(B, F, seed=2)
    if "teacher_logits" in ours.needs:
        given["teacher_logits"] = normal(B, C, seed=2)
    losses = []
    for each in (ours, fresh):
        torch.manual_seed(4)
        losses.append(each(normal(B, D, seed=1), LABELS, **given))
    assert torch.equal(*losses)


@pytest.mark.parametrize("key", names())
def test_every_line_of_the_list_has_what_it_is_and_its_needs_are_true(key):
    line, ours = vmf.objectives()[key], built_twice(key)[0]
    assert len(line) > 15 and "\n" not in line
    stated = line.partition(" Needs ")[2].partition(".")[0].split(", ") if " Needs " in line else []
    assert tuple(stated) == ours.needs
    if "n_classes" in stated:
        with pytest.raises(ValueError, match="n_classes"):
            vmf.objective(key, embedding_dim=D, n_features=F)
    else:
        vmf.objective(key, embedding_dim=D, n_features=F)


def test_a_need_that_is_not_met_is_named_with_what_to_type():
    for key in vmf.objectives():
        if key == "pml" and find_spec("pytorch_metric_learning") is None:
            continue
        ours = vmf.objective(key, embedding_dim=D, n_classes=C, n_features=F)
        for need in set(ours.needs) - {"n_classes", "n_features", "n_epochs"}:
            with pytest.raises(ValueError, match="needs "):
                ours(normal(B, D).float(), LABELS)
            assert need in vmf.objectives()[key]
