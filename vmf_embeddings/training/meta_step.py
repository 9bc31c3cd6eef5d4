"""An update of a head, and the meta gradient for a sampler that learns which classes to draw.

Ren et al. 2020, "Balanced Meta-Softmax", algorithm 1, https://arxiv.org/abs/2007.10740, for a head
on a frozen backbone.
"""

from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.step import Batch, Step
from vmf_embeddings.untrusted.refused import Refused

Parameters = dict[str, Tensor]


class LearningSampler(Protocol):
    """A sampler with `learns`. Its batches hold training images, then meta images."""

    batch_size: int
    """Training images per batch, B."""
    meta_batch_size: int
    """Images per batch on which the meta loss is computed, M."""

    def learn(self, slopes: Tensor) -> None:
        """Updates the sampler by the derivatives [B] of the meta loss in the sample weights."""


class MetaStep(Step):
    """Updates the head on the training images of a batch, and the sampler by the meta loss.

    One SGD step with sample weights w leads from the head's parameters theta to
    theta' = … - rate / B sum_b w_b grad l_b(theta). The meta loss is the plain cross-entropy of
    theta' on the meta images. At w_b = 1 its derivative in w_b is
    -rate / B <grad meta loss(theta'), grad l_b(theta)>. No second derivatives are needed: momentum
    and weight decay do not depend on w, and theta' at w_b = 1 is what the update itself computes.

    Args:
        model: the method, wrapped if there are several processes.
        optimizer: Accelerate's wrapper of torch's SGD.
        accelerator: device, precision and processes.
        sampler: receives the derivatives.

    Raises:
        ValueError: see `refuse_unsupported`; or a batch cannot be divided evenly among processes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        accelerator: Accelerator,
        sampler: LearningSampler,
    ) -> None:
        super().__init__(model, optimizer, accelerator)
        self.sampler = sampler
        self.method = accelerator.unwrap_model(model)
        refuse_unsupported(self.method, optimizer.optimizer)
        _refuse_uneven_division(sampler, accelerator.num_processes)

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights on the training images, then the sampler; see `Step`."""
        n = self.sampler.batch_size // self.accelerator.num_processes
        train = {key: value[:n] for key, value in batch.items()}
        embeddings = self._embed(batch["examples"])
        train_embeddings = self.method.scale_features(embeddings[:n], train["ids"])
        theta = {name: p.detach().clone() for name, p in self._trained()}
        loss = super().__call__(train, weight)
        slopes = sample_weight_slopes(
            self.method.classifier,
            self.method.objective,
            theta,
            self._meta_direction(embeddings[n:], batch["ids"][n:]),
            (train_embeddings, train["ids"]),
        )
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.sampler.learn(gather_rows(slopes / world, rank, world, self.sampler.batch_size))
        return loss

    @torch.no_grad()
    def _embed(self, images: Tensor) -> Tensor:
        """Embeddings of the frozen backbone; BatchNorm's running statistics do not change."""
        was_training = self.method.arch.training
        self.method.arch.eval()
        with self.accelerator.autocast():
            embeddings = self.method.embed(images)
        self.method.arch.train(was_training)
        return embeddings

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(k, p) for k, p in self.method.classifier.named_parameters() if p.requires_grad]

    def _meta_direction(self, embeddings: Tensor, labels: Tensor) -> Parameters:
        """-rate times the gradient of the meta loss, averaged over processes, by parameter."""
        names, parameters = zip(*self._trained(), strict=True)
        loss = cross_entropy(self.method.classifier(embeddings), labels)
        gradients = torch.autograd.grad(loss, parameters)
        means = self.accelerator.reduce(list(gradients), "mean")
        rates = _effective_rates(self.optimizer.optimizer)
        return {
            name: -rates[id(parameter)] * mean
            for name, parameter, mean in zip(names, parameters, means, strict=True)
        }


def sample_weight_slopes(
    head: nn.Module,
    objective: nn.Module,
    theta: Parameters,
    direction: Parameters,
    batch: tuple[Tensor, Tensor],
) -> Tensor:
    """<d (l_b(theta) / B) / d theta, direction> for each sample b of a mean loss.

    The loss of a sample must not depend on the other samples, so that row b of the gradient in the
    logits belongs to sample b alone.

    Args:
        head: embeddings [B, D] -> logits [B, C].
        objective: logits, labels and `features` -> mean loss.
        theta: the head's parameters by name.
        direction: tensors of the same names and shapes.
        batch: embeddings [B, D] and labels [B].

    Returns:
        [B].
    """
    embeddings, labels = batch
    theta = {name: values.detach().requires_grad_() for name, values in theta.items()}
    logits = functional_call(head, theta, (embeddings,))
    logits_leaf = logits.detach().requires_grad_()
    loss = objective(logits_leaf, labels, features=embeddings)
    grad_logits = torch.autograd.grad(loss, logits_leaf)[0]  # [B, C]
    # d (l_b / B) / d theta = sum_c grad_logits[b, c] d logits[b, c] / d theta. With f(v) = sum_b
    # v_b (grad_logits . logits)_b, <df / d theta, direction> is linear in v: its derivative in v_b
    # is the result. Reverse mode twice, since forward mode takes seconds to compile at first use.
    v = logits.new_ones(len(logits)).requires_grad_()
    f = (v * (grad_logits * logits).sum(1)).sum()
    gradients = torch.autograd.grad(f, list(theta.values()), create_graph=True)
    pairs = zip(theta, gradients, strict=True)
    return torch.autograd.grad(sum((direction[k] * g).sum() for k, g in pairs), v)[0]


def _effective_rates(optimizer: torch.optim.SGD) -> dict[int, float]:
    """Id of a parameter -> |d parameter after the step / d gradient of this step|.

    That is lr, and lr (1 + momentum) for Nesterov momentum.
    """
    return {
        id(parameter): group["lr"] * (1 + group["momentum"] * group["nesterov"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def refuse_unsupported(method: Method, optimizer: torch.optim.Optimizer) -> None:
    """Refuses methods and optimizers for which the meta gradient of `MetaStep` does not hold.

    Raises:
        ValueError: the method has no head and loss of its own, its backbone is not frozen, or the
            optimizer is not SGD.
    """
    if "head" not in type(method).parts():
        raise ValueError(
            "this sampler learns from a head and its loss: add method=classifier "
            "loss=balanced_softmax"
        )
    if any(p.requires_grad for p in method.arch.parameters()):
        raise ValueError(
            "this sampler learns in the second stage, on a frozen backbone: add mode=finetune "
            "run=FOLDER, the folder of a run by mode=train"
        )
    if not isinstance(optimizer, torch.optim.SGD):
        raise ValueError(
            f"this sampler looks ahead by a step of SGD, got {type(optimizer).__name__}: add "
            "optimizer=sgd"
        )


def _refuse_uneven_division(sampler: LearningSampler, world: int) -> None:
    if sampler.batch_size % world or sampler.meta_batch_size % world:
        raise Refused(
            f"sampler.batch_size={sampler.batch_size} and sampler.meta_batch_size="
            f"{sampler.meta_batch_size} must be multiples of the {world} processes"
        )
