"""The meta gradient equals a slow reference by autograd, and the head's update is unchanged."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy, linear, log_softmax, one_hot

from tests.methods.laws import TinyArch
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.samplers.meta import MetaSampler
from vmf_embeddings.training.meta_step import MetaStep, sample_weight_slopes
from vmf_embeddings.training.optimizers import sgd
from vmf_embeddings.training.step import Step

C, D, B, M = 4, 3, 10, 8
COUNTS = torch.tensor((40, 16, 8, 4))
LABELS = torch.repeat_interleave(torch.arange(C), COUNTS)


def classifier(loss=None, head=None, seed=0):
    torch.manual_seed(seed)
    made = Classifier(
        TinyArch(C, D),
        head or (lambda n_classes, dim: LinearHead(n_classes, dim, bias=True)),
        loss or BalancedSoftmax(),
        posthoc_tau=0.0,
    ).double()
    made.prepare(lambda: iter(()), COUNTS)
    for parameter in made.arch.parameters():
        parameter.requires_grad_(False)
    made.train()
    made.arch.eval()
    return made


def sampler(seed=1, learning_rate=0.1):
    return MetaSampler(
        LABELS,
        batch_size=B,
        meta_batch_size=M,
        meta_share=0.25,
        learning_rate=learning_rate,
        init_power=0.2,
        seed=seed,
    )


def optimizer_of(method, *, momentum=0.9, nesterov=False, lr=0.3):
    parameters = [p for p in method.parameters() if p.requires_grad]
    return sgd(
        parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=0.01, fused=None
    )


def step_of(kind, method, optimizer, *rest):
    accelerator = Accelerator(cpu=True)
    return kind(method, accelerator.prepare(optimizer), accelerator, *rest)


def batch_of(indices, seed=0):
    """Images of the classes of `indices`, which lie apart but overlap."""
    draw = torch.Generator().manual_seed(seed)
    ids = LABELS[indices]
    noise = torch.randn(len(ids), 1, 4, 4, dtype=torch.float64, generator=draw)
    return {"examples": noise + ids[:, None, None, None] * 0.4, "ids": ids}


def slow_gradient(method, optimizer, drawn, batch):
    """The equation as it stands: one weighted step of SGD, differentiated by autograd."""
    logits, classes = (torch.from_numpy(x) for x in drawn._drawn)
    counts = torch.from_numpy(drawn.train_classes.counts).double()
    psi = drawn.psi.detach().clone().requires_grad_()
    noise = logits - torch.from_numpy(drawn.class_logits())
    soft = (counts.log() + torch.nn.functional.logsigmoid(psi) + noise).softmax(1)
    hard = one_hot(classes, C).double()
    weights = ((hard - soft.detach() + soft) * hard).sum(1)
    theta = [p for p in method.classifier.parameters()]
    embeddings = method.embed(batch["examples"]).detach()
    z = linear(embeddings[:B], *theta) + COUNTS.double().log()
    losses = -log_softmax(z, 1)[torch.arange(B), batch["ids"][:B]]
    gradients = torch.autograd.grad((weights * losses).mean(), theta, create_graph=True)
    group, moved = optimizer.param_groups[0], []
    for p, gradient in zip(theta, gradients, strict=True):
        total = gradient + group["weight_decay"] * p
        memory = optimizer.state[p].get("momentum_buffer")
        momentum = total if memory is None else group["momentum"] * memory + total
        change = total + group["momentum"] * momentum if group["nesterov"] else momentum
        moved.append(p - group["lr"] * change)
    cross_entropy(linear(embeddings[B:], *moved), batch["ids"][B:]).backward(inputs=[psi])
    return psi.grad, [p.detach() for p in moved]


@pytest.mark.parametrize("nesterov", (False, True))
def test_gradient_of_psi_and_the_update_are_those_of_the_slow_equation(nesterov, monkeypatch):
    method, drawn = classifier(), sampler()
    optimizer = optimizer_of(method, nesterov=nesterov)
    step = step_of(MetaStep, method, optimizer, drawn)
    seen = {}
    monkeypatch.setattr(drawn, "learn", lambda slopes: seen.update(slopes=slopes))
    for number, indices in enumerate(drawn):  # the first step has no momentum yet, the others do
        batch = batch_of(indices, seed=number)
        expected, moved = slow_gradient(method, optimizer, drawn, batch)
        step(batch, 1.0)
        gradient = torch.from_numpy(drawn.gradient(seen["slopes"].double().numpy()))
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
        for parameter, wanted in zip(method.classifier.parameters(), moved, strict=True):
            torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-12, atol=1e-14)
    assert number == 5 and expected.abs().max() > 1e-6


def test_slopes_are_the_products_with_every_samples_own_gradient_for_any_head():
    draw = torch.Generator().manual_seed(0)
    embeddings = torch.randn(5, D, dtype=torch.float64, generator=draw)
    labels = torch.tensor([0, 3, 1, 1, 2])
    head = CosineHead(C, D, bias=True, scale=None).double()
    theta = {k: p.detach().clone() for k, p in head.named_parameters()}
    direction = {
        k: torch.randn(p.shape, dtype=torch.float64, generator=draw) for k, p in theta.items()
    }
    slopes = sample_weight_slopes(head, CrossEntropy(), theta, direction, (embeddings, labels))
    for row in range(5):
        loss = cross_entropy(head(embeddings[row : row + 1]), labels[row : row + 1]) / 5
        own = torch.autograd.grad(loss, list(head.parameters()))
        pairs = zip(own, direction.values(), strict=True)
        torch.testing.assert_close(slopes[row], sum((g * d).sum() for g, d in pairs))


def test_the_head_is_updated_as_by_an_ordinary_step_on_the_training_images():
    one, two = classifier(), classifier()
    frozen = {k: v.clone() for k, v in one.arch.state_dict().items()}
    drawn = sampler()
    meta = step_of(MetaStep, one, optimizer_of(one), drawn)
    plain = step_of(Step, two, optimizer_of(two))
    for indices in drawn:
        batch = batch_of(indices)
        losses = meta(batch, 1.0), plain({k: v[:B] for k, v in batch.items()}, 1.0)
        assert losses[0] == losses[1] and not losses[0].requires_grad
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(v, frozen[k]) for k, v in one.arch.state_dict().items())
    assert drawn.psi.abs().max() > 0


def test_batch_statistics_are_not_changed_by_the_meta_loss():
    method, drawn = classifier(), sampler()
    method.arch.train()
    twin = classifier()
    twin.arch.train()
    meta = step_of(MetaStep, method, optimizer_of(method), drawn)
    plain = step_of(Step, twin, optimizer_of(twin))
    batch = batch_of(next(iter(drawn)))
    meta(batch, 1.0), plain({k: v[:B] for k, v in batch.items()}, 1.0)
    assert torch.equal(method.arch.norm.running_mean, twin.arch.norm.running_mean)
    assert method.arch.training


def test_classes_that_the_head_underserves_are_drawn_more_often():
    """Plain cross-entropy on a long tail neglects rare classes; the meta images are balanced."""
    method, drawn = classifier(CrossEntropy()), sampler(learning_rate=0.05)
    step = step_of(MetaStep, method, optimizer_of(method, momentum=0.0, lr=0.5), drawn)
    start = drawn.class_probabilities()
    for epoch in range(25):
        drawn.set_epoch(epoch)
        for number, indices in enumerate(drawn):
            step(batch_of(indices, seed=100 * epoch + number), 1.0)
    end = drawn.class_probabilities()
    assert end[0] < start[0] and end[3] > 1.5 * start[3]


def test_unsupported_methods_and_optimizers_are_refused():
    method, drawn = classifier(), sampler()
    with pytest.raises(ValueError, match="looks ahead by a step of SGD, got AdamW: add optimizer"):
        step_of(MetaStep, method, torch.optim.AdamW(method.classifier.parameters()), drawn)
    next(method.arch.parameters()).requires_grad_(True)
    with pytest.raises(ValueError, match="frozen backbone: add mode=finetune"):
        step_of(MetaStep, method, optimizer_of(method), drawn)
    with pytest.raises(ValueError, match="add method=classifier"):
        step_of(MetaStep, UnnormalizedSCE(TinyArch(C, D)), optimizer_of(method), drawn)


def test_processes_that_cannot_divide_the_batch_are_refused():
    method = classifier()
    three = SimpleNamespace(num_processes=3, unwrap_model=lambda model: model)
    wrapped = SimpleNamespace(optimizer=optimizer_of(method))
    with pytest.raises(ValueError, match="multiples of the 3 processes"):
        MetaStep(method, wrapped, three, sampler())
