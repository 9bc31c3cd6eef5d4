"""Runs and losses over sampled classes (`trainer.sampled_classes`) in one process."""

import dataclasses

import pytest
import torch

from tests.methods.laws import TinyArch
from tests.training.few_digits import NET, trained
from tests.training.sharded_methods import MAKE, embeddings_and_labels, method_of
from tests.training.test_mid_epoch import ends_alike
from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.methods.class_sampling import ClassSampling
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.class_sharding import sample_classes
from vmf_embeddings.untrusted.refused import Refused

SAMPLES = (
    "vmf_softmax", "vmf_softmax iid", "elk", "elk kl", "elk apart", "normalized_sce", "arcface",
    "unnormalized_sce",
)  # fmt: skip


def loss_and_gradients(name, sampling=None, seed=5):
    method = method_of(name, 45, 8)
    if sampling is not None:
        sample_classes(method, sampling, learning_sampler=False, world=1)
    embeddings, labels = embeddings_and_labels(5, 45, 8)
    torch.manual_seed(seed)
    loss = method.loss(embeddings, labels)
    loss.backward()
    found = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "embeddings": embeddings.grad, **found}


@pytest.mark.parametrize("name", SAMPLES)
def test_with_all_classes_it_is_the_exact_loss(name):
    exact, sampled = loss_and_gradients(name), loss_and_gradients(name, ClassSampling(1.0))
    assert exact.keys() == sampled.keys()
    for key, value in exact.items():
        torch.testing.assert_close(sampled[key], value, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("name", ["elk", "normalized_sce", "arcface", "unnormalized_sce"])
def test_the_loss_and_its_gradients_are_those_of_the_used_classes(name, corrected):
    """Slowly: all logits, minus infinity for classes that are not used."""
    sampling, method = ClassSampling(0.3, corrected), method_of(name, 45, 8)
    got = loss_and_gradients(name, sampling)
    embeddings, labels = embeddings_and_labels(5, 45, 8)
    torch.manual_seed(5)
    step = sampling(ClassShard(45, 0, 1), labels)
    added = torch.full((45,), -torch.inf, dtype=torch.float64)
    added[step.columns] = step.log_weights.double() if corrected else 0.0
    logits = method.logits(embeddings)
    if name == "arcface":
        beta = method.class_parameters.beta
        own = torch.nn.functional.one_hot(labels, 45).bool()
        shifted = beta * ((logits / beta).clamp(-1 + 1e-12, 1 - 1e-12).acos() + method.m).cos()
        logits = torch.where(own, shifted, logits)
    loss = torch.nn.functional.cross_entropy(logits + added, labels)
    loss.backward()
    torch.testing.assert_close(got["loss"], loss.detach(), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(got["embeddings"], embeddings.grad, rtol=1e-6, atol=1e-6)
    weights = method.class_parameters.weight.grad
    torch.testing.assert_close(got["class_parameters.weight"], weights, rtol=1e-6, atol=1e-6)
    unused = torch.ones(45, dtype=torch.bool).index_fill(0, step.columns, False)
    assert not got["class_parameters.weight"][unused].any()


@pytest.mark.parametrize("name", ["vmf_softmax", "normalized_sce"])
def test_the_correction_keeps_the_loss_and_without_it_the_loss_is_too_small(name):
    """With weak classes the loss is about log C, and a third of these lacks log 3."""

    def mean(sampling):
        losses = []
        for seed in range(20):
            method = method_of(name, 45, 8)
            with torch.no_grad():
                method.class_weights.mul_(0.1)
            if sampling is not None:
                sample_classes(method, sampling, learning_sampler=False, world=1)
            embeddings, labels = embeddings_and_labels(2, 45, 8)
            torch.manual_seed(seed)
            losses.append(method.loss(embeddings.detach(), labels).detach())
        return torch.stack(losses).mean()

    exact = mean(None)
    assert abs(mean(ClassSampling(1 / 3)) - exact) < 0.1
    assert exact - mean(ClassSampling(1 / 3, corrected=False)) > 0.5


def test_predictions_use_all_classes():
    method = method_of("normalized_sce", 45, 8)
    sample_classes(method, ClassSampling(0.3), learning_sampler=False, world=1)
    assert method.logits(torch.ones(2, 8, dtype=torch.float64)).shape == (2, 45)


@pytest.mark.parametrize(
    "method", [pytest.param("vmf_softmax", marks=pytest.mark.slow), "normalized_sce"]
)
def test_a_run_that_is_ended_inside_an_epoch_draws_the_same_classes(tmp_path, monkeypatch, method):
    words = [
        *(*NET, "num_workers=0", "mode.epochs=2", "mode.learning_rate=0.05", f"method={method}"),
        *("schedule=constant", "dataset=digits", "sampler=episodic", "sampler.n_episodes=6"),
        *("sampler.n_classes=2", "sampler.n_samples=2", "trainer.sampled_classes=0.1"),
    ]
    n_ends, _ = ends_alike(tmp_path, monkeypatch, words, 5)
    assert n_ends == 2
    whole = [word for word in words if "sampled" not in word]
    ends = [checkpoint.load(tmp_path / "straight" / "last.pt")["method_state_dict"]]
    trained(tmp_path / "whole", *whole)
    ends.append(checkpoint.load(tmp_path / "whole" / "last.pt")["method_state_dict"])
    weights = [end["class_parameters.weight"] for end in ends]
    assert not torch.equal(*weights)


REFUSED = {
    "proxy_anchor": "needs all classes in every step; use method=vmf_softmax",
    "linear": "needs all classes in every step; use method=vmf_softmax",
}


@pytest.mark.parametrize("name", REFUSED)
def test_objectives_that_need_all_classes_are_refused(name):
    with pytest.raises(Refused, match=REFUSED[name]):
        sample_classes(MAKE[name](TinyArch()), ClassSampling(0.5), learning_sampler=False, world=1)


def test_approximations_samplers_that_learn_and_undivided_classes_are_refused():
    method = VMFSoftmax(TinyArch(), 4, "approx", "exact", "exact")
    with pytest.raises(Refused, match="needs all classes in every step"):
        sample_classes(method, ClassSampling(0.5), learning_sampler=False, world=1)
    method = method_of("normalized_sce", 5, 3)
    with pytest.raises(Refused, match="needs all classes in every step"):
        sample_classes(method, ClassSampling(0.5), learning_sampler=True, world=1)
    with pytest.raises(Refused, match="needs trainer.shard_classes=true"):
        sample_classes(method, ClassSampling(0.5), learning_sampler=False, world=2)
    assert method.class_shard is None


def test_a_shard_keeps_its_place():
    method = method_of("normalized_sce", 9, 3)
    method.class_shard = ClassShard(9, 1, 2)
    sampling = ClassSampling(0.5)
    sample_classes(method, sampling, learning_sampler=False, world=2)
    assert method.class_shard == dataclasses.replace(ClassShard(9, 1, 2), sample=sampling)
