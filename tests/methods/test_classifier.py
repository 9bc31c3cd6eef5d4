"""The classifier: heads under losses, priors in training alone, checkpoints, warnings."""

import logging
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.nn.functional import cross_entropy

from tests.methods.laws import TinyArch, normal
from tests.test_configs import CONF
from vmf_embeddings.cli import assembly
from vmf_embeddings.geometry import Cosine, Euclidean
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.heads.tvmf import TVMFHead
from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.losses.ldam import LDAM
from vmf_embeddings.methods.classifier import Classifier

COUNTS = torch.tensor([500, 120, 30, 8, 2])
Z, Y = normal(10, 3).float(), torch.arange(10) % 5
linear = partial(LinearHead, bias=True)
cosine = partial(CosineHead, bias=False, scale=None)


def ldam(drw_epoch: int | None = None) -> LDAM:
    return LDAM(max_margin=0.5, scale=30.0, drw_epoch=drw_epoch, beta=0.9999)


def classifier(head=linear, loss=None, posthoc_tau: float = 0.0, **arch) -> Classifier:
    torch.manual_seed(0)
    method = Classifier(TinyArch(**arch), head, loss or CrossEntropy(), posthoc_tau)
    method.prepare(lambda: iter(()), COUNTS)
    return method


FITTED = ("ncm", "vmf_bayes")  # by a second stage, without gradients
HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml") if path.stem not in FITTED)
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))


def composed(*overrides: str):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_under_every_loss_that_fits_it(head):
    from omegaconf import OmegaConf

    for name in LOSSES:
        nodes = [
            OmegaConf.load(CONF / g / f"{o}.yaml") for g, o in (("head", head), ("loss", name))
        ]
        make = assembly.instantiate("head", nodes[0], _partial_=True)
        loss = assembly.instantiate("loss", nodes[1])
        if loss.requires_cosine_head and head in ("linear", "lws"):
            with pytest.raises(ValueError, match=f"add head=cosine .*got head={head}"):
                classifier(make, loss)
            continue
        method = classifier(make, loss)
        method.begin_epoch(500)
        method.loss(Z, Y).backward()
        gradients = [p.grad for p in method.classifier.parameters() if p.requires_grad]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients), name


def test_loss_is_the_loss_of_the_scaled_logits():
    method = classifier(partial(TVMFHead, kappa=16.0, bias=True, scale=None))
    logits = method.classifier.scale * method.classifier.logits(Z)
    torch.testing.assert_close(method.logits(Z), logits)
    torch.testing.assert_close(method.loss(Z, Y), cross_entropy(logits, Y))


def test_priors_never_reach_a_prediction():
    plain, balanced = classifier(), classifier(loss=BalancedSoftmax())
    assert torch.equal(plain.logits(Z), balanced.logits(Z))
    assert not torch.allclose(plain.loss(Z, Y), balanced.loss(Z, Y))


def test_ldam_gives_the_head_its_scale_and_predictions_no_margin():
    method = classifier(cosine, ldam())
    assert method.classifier.scale == 30 and method.temperature.item() == pytest.approx(1 / 30)
    assert [key for key, _ in method.classifier.named_parameters()] == ["weight"]
    torch.testing.assert_close(method.logits(Z), 30 * method.classifier.logits(Z))
    assert method.loss(Z, Y) > cross_entropy(method.logits(Z), Y)


def test_the_epoch_reaches_the_loss():
    method = classifier(cosine, ldam(drw_epoch=2))
    early = method.loss(Z, Y)
    method.begin_epoch(2)
    assert not torch.allclose(method.loss(Z, Y), early)


def test_posthoc_adjustment_moves_predictions_to_the_rare_and_the_loss_not():
    plain, adjusted = classifier(), classifier(posthoc_tau=1.5)
    prior = (COUNTS.double() / COUNTS.sum()).log().float()
    torch.testing.assert_close(adjusted.logits(Z), plain.logits(Z) - 1.5 * prior)
    torch.testing.assert_close(adjusted.unadjusted_logits(Z), plain.logits(Z))
    torch.testing.assert_close(adjusted.loss(Z, Y), plain.loss(Z, Y))
    assert (adjusted.predict(Z)[:, 4] > plain.predict(Z)[:, 4]).all()


def test_geometry_and_class_weights_are_the_head_s():
    assert classifier().geometry == Euclidean()
    assert classifier(cosine).geometry == Cosine()
    method = classifier(cosine)
    assert method.class_weights is method.classifier.weight
    assert classifier().status() == {} and classifier().temperature == 1
    assert method.status()["temperature"] == pytest.approx(1 / 1.6931, rel=1e-4)
    assert classifier(cosine, ldam()).status()["temperature"] == pytest.approx(1 / 30)


def test_a_fresh_build_restores_a_run_with_its_counts_and_scale():
    method = classifier(cosine, ldam(), posthoc_tau=0.5)
    torch.manual_seed(1)
    other = Classifier(TinyArch(), cosine, ldam(), 0.5)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.objective.class_counts, COUNTS)
    assert torch.equal(other.logits(Z), method.logits(Z))
    assert torch.equal(other.loss(Z, Y), method.loss(Z, Y))


@pytest.mark.parametrize("rule", ("none", "reference", "all"))
def test_what_decays_is_what_the_rule_says(rule):
    method = classifier(partial(CosineHead, bias=True, scale=None))
    decayed = {
        id(p)
        for group in method.param_groups(0.1, rule)
        if group.get("weight_decay") != 0.0
        for p in group["params"]
    }
    head = method.classifier
    assert (id(head.weight) in decayed) == (rule != "none")
    assert (id(head.raw_scale) in decayed) == (id(head.bias) in decayed) == (rule == "all")
    assert (id(method.arch.norm.weight) in decayed) == (rule == "all")
    assert id(method.arch.hidden.weight) in decayed


def test_the_head_stays_in_float32_under_autocast():
    method = classifier(cosine, ldam())
    with torch.autocast("cpu", torch.bfloat16):
        loss, logits = method.loss(Z.bfloat16(), Y), method.logits(Z.bfloat16())
    assert loss.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(logits, method.logits(Z.bfloat16().float()))


def test_counts_of_other_classes_are_refused():
    method = Classifier(TinyArch(n_classes=7), linear, BalancedSoftmax(), 0.0)
    with pytest.raises(ValueError, match="5 classes, the head has 7.*n_classes=null"):
        method.prepare(lambda: iter(()), COUNTS)


def test_what_is_subtracted_from_the_logits_is_recorded():
    assert classifier().describe() == {}
    assert classifier(posthoc_tau=1.5).describe() == {"prior_removed": True}


def test_a_negative_posthoc_tau_is_refused():
    with pytest.raises(ValueError, match="posthoc_tau must be >= 0"):
        classifier(posthoc_tau=-1.0)


# contradictory pairs are told why


def test_a_log_prior_corrected_for_twice_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        classifier(loss=BalancedSoftmax())
        classifier(posthoc_tau=1.0)
    assert not caplog.records
    classifier(loss=BalancedSoftmax(), posthoc_tau=1.0)
    assert "loss=balanced_softmax: the log class frequencies are corrected for twice" in caplog.text


def test_a_temperature_of_the_arch_is_said_not_to_be_read(caplog):
    classifier(learn_temp=True)
    assert "reads neither arch.params.learn_temp" in caplog.text


def test_a_prior_under_a_balancing_sampler_is_warned_of(caplog):
    balancing, plain = SimpleNamespace(balances=True), SimpleNamespace(balances=False)
    assembly.warn_of_contradictions(classifier(loss=BalancedSoftmax()), plain)
    assembly.warn_of_contradictions(classifier(), balancing)
    assert not caplog.records
    assembly.warn_of_contradictions(classifier(loss=BalancedSoftmax()), balancing)
    assert "both reduce the weight of frequent classes" in caplog.text


def test_scaling_the_features_of_a_cosine_head_is_said_to_do_nothing(caplog):
    from vmf_embeddings.methods.feature_scaling import FeatureScaling

    for head, warned in ((linear, False), (cosine, True)):
        method = classifier(head)
        method.feature_scaling = FeatureScaling("rank", 1.0, None)
        assembly.warn_of_contradictions(method, SimpleNamespace())
        assert ("feature_scaling has no effect" in caplog.text) is warned


@pytest.mark.parametrize("name", ("lws", "ncm", "vmf_bayes"))
def test_heads_of_a_second_stage_are_not_trained_from_nothing(name):
    from omegaconf import OmegaConf

    node = OmegaConf.load(CONF / "head" / f"{name}.yaml")
    method = classifier(assembly.instantiate("head", node, _partial_=True))
    with pytest.raises(assembly.Refused, match=f"use mode={name} run=RUN_FOLDER"):
        assembly.refuse_second_stages(method)
    assembly.refuse_second_stages(classifier())


# from the configuration


class TinyData:
    """Knows what building asks a data set."""

    margin_warmup_epochs, example_shape, standardize = 0, (1, 28, 28), False

    def split(self, name: str):
        return SimpleNamespace(n_classes=5, class_counts=COUNTS)


def test_groups_are_built_into_the_method():
    cfg = composed(
        "method=classifier", "head=tvmf_k4", "loss=focal", "loss.params.gamma=1.0",
        "feature_scaling=rank", "dataset=digits",
    )  # fmt: skip
    method = assembly.method(cfg, TinyData(), pretrained=False)
    assert method.classifier.kappa == 4 and method.objective.gamma == 1.0
    assert method.classifier.weight.shape == (5, 3)
    assert method.feature_scaling.class_factors[0] == 1.5


def test_other_methods_are_built_without_head_loss_and_scaling():
    method = assembly.method(composed("dataset=digits"), TinyData(), pretrained=False)
    assert method.name == "unnormalized_sce" and method.feature_scaling is None
    assert not any("feature_scaling" in key for key in method.state_dict())


@pytest.mark.parametrize("override", ("head=cosine", "loss.params.tau=2"))
def test_naming_a_head_or_a_loss_beside_a_method_that_has_its_own_is_refused(monkeypatch, override):
    overrides = SimpleNamespace(task=["method=arcface", override])
    hydra = SimpleNamespace(
        initialized=lambda: True, get=lambda: SimpleNamespace(overrides=overrides)
    )
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig", hydra)
    group = override[:4]
    with pytest.raises(
        assembly.Refused, match=f"method=arcface .* reads no {group}: leave {group} out"
    ):
        assembly.refuse_unread_groups(composed("method=arcface"))
    assembly.refuse_unread_groups(composed("method=classifier"))
