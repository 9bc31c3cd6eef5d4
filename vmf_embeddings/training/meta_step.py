"""An update of the weights that also tells a learning sampler what each of its draws was worth.

Ren et al. 2020, "Balanced Meta-Softmax", algorithm 1, https://arxiv.org/abs/2007.10740, for a head
on a frozen backbone.
"""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.step import Batch, Step

Parameters = dict[str, Tensor]


class MetaStep(Step):
    """Updates the head by the slots of a batch, and scores the update on the rest of the batch.

    One step of SGD with slot b weighted by w_b leads from the head theta to
    theta' = … - rate / B sum_b w_b grad l_b(theta). The meta loss is the plain cross-entropy of
    theta' on the images to judge by. At w_b = 1, where theta' is what the update leaves, its slope
    in w_b is -rate / B <grad meta loss(theta'), grad l_b(theta)>: momentum and weight decay are in
    theta' and no second derivative is needed.

    Args:
        model: the method, wrapped where there are several processes.
        optimizer: Accelerate's, around torch's SGD.
        accelerator: device, precision and processes.
        sampler: one that `learns`: `batch_size` slots stand first in its batches.

    Raises:
        ValueError: see `refuse_what_cannot_be_judged`; or processes cannot share a batch evenly.
    """

    def __init__(
        self, model: nn.Module, optimizer: Any, accelerator: Accelerator, sampler: Any
    ) -> None:
        super().__init__(model, optimizer, accelerator)
        self.sampler = sampler
        self.method = accelerator.unwrap_model(model)
        refuse_what_cannot_be_judged(self.method, optimizer.optimizer)
        _refuse_uneven_shares(sampler, accelerator.num_processes)

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights by the slots, and the sampler by what they did; see `Step`."""
        n = self.sampler.batch_size // self.accelerator.num_processes
        slots = {key: value[:n] for key, value in batch.items()}
        embeddings = self._embed(batch["examples"])
        learned = self.method.scale_features(embeddings[:n], slots["ids"])
        before = {name: p.detach().clone() for name, p in self._trained()}
        loss = super().__call__(slots, weight)
        slopes = slot_slopes(
            self.method.classifier,
            self.method.objective,
            before,
            self._direction(embeddings[n:], batch["ids"][n:]),
            (learned, slots["ids"]),
        )
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.sampler.learn(gather_rows(slopes / world, rank, world, self.sampler.batch_size))
        return loss

    @torch.no_grad()
    def _embed(self, images: Tensor) -> Tensor:
        """Embeddings of the frozen backbone, which stays as it is: statistics do not move."""
        was_training = self.method.arch.training
        self.method.arch.eval()
        with self.accelerator.autocast():
            embeddings = self.method.embed(images)
        self.method.arch.train(was_training)
        return embeddings

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(k, p) for k, p in self.method.classifier.named_parameters() if p.requires_grad]

    def _direction(self, embeddings: Tensor, labels: Tensor) -> Parameters:
        """-rate times the meta loss's gradient, mean over processes, for every parameter."""
        names, parameters = zip(*self._trained(), strict=True)
        loss = cross_entropy(self.method.classifier(embeddings), labels)
        gradients = torch.autograd.grad(loss, parameters)
        means = self.accelerator.reduce(list(gradients), "mean")
        rates = _rates(self.optimizer.optimizer)
        return {
            name: -rates[id(parameter)] * mean
            for name, parameter, mean in zip(names, parameters, means, strict=True)
        }


def slot_slopes(
    head: nn.Module,
    objective: nn.Module,
    theta: Parameters,
    direction: Parameters,
    slots: tuple[Tensor, Tensor],
) -> Tensor:
    """<grad of slot b's part of the mean loss at theta, direction> for every slot.

    Rows of the loss must not depend on one another: then the gradient in the logits belongs to
    the slots row by row.

    Args:
        head: embeddings [B, D] -> logits [B, C].
        objective: logits, labels and `features` -> mean loss.
        theta: parameters of the head, by name.
        direction: as many numbers, by the same names.
        slots: embeddings [B, D], labels [B].

    Returns:
        [B].
    """
    embeddings, labels = slots
    theta = {name: values.detach().requires_grad_() for name, values in theta.items()}
    logits = functional_call(head, theta, (embeddings,))
    ends = logits.detach().requires_grad_()
    pull = torch.autograd.grad(objective(ends, labels, features=embeddings), ends)[0]
    # the products by reverse mode alone: forward mode compiles for seconds when first used
    weights = logits.new_ones(len(logits)).requires_grad_()
    total = (weights * (pull * logits).sum(1)).sum()
    gradients = torch.autograd.grad(total, list(theta.values()), create_graph=True)
    pairs = zip(theta, gradients, strict=True)
    return torch.autograd.grad(sum((direction[k] * g).sum() for k, g in pairs), weights)[0]


def _rates(optimizer: torch.optim.SGD) -> dict[int, float]:
    """By how much one step moves each parameter per unit of this step's gradient, by id."""
    return {
        id(parameter): group["lr"] * (1 + group["momentum"] * group["nesterov"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def refuse_what_cannot_be_judged(method: Any, optimizer: torch.optim.Optimizer) -> None:
    """Makes sure that a sampler that learns has something to learn from.

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


def _refuse_uneven_shares(sampler: Any, world: int) -> None:
    if sampler.batch_size % world or sampler.meta_batch_size % world:
        raise ValueError(
            f"sampler.batch_size={sampler.batch_size} and sampler.meta_batch_size="
            f"{sampler.meta_batch_size} must be multiples of the {world} processes"
        )
