"""Matryoshka representation learning: the first coordinates of an embedding are embeddings too.

Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, Jain, Farhadi
2022, "Matryoshka Representation Learning", NeurIPS, https://arxiv.org/abs/2205.13147.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.wrapping import WrappingMethod

LEAST_DIM = 8  # of the lengths that are chosen where none are given


class Matryoshka(WrappingMethod):
    """Loss sum_m w_m L(first m coordinates, labels), for any objective L on embeddings.

    L does with a prefix what it does with an embedding of m dimensions: it compares directions
    where it uses the cosine, and the concentration of a von Mises-Fisher distribution is the norm
    of the prefix. With `dims=[D]` the loss is that of the objective alone.

    Args:
        arch: the backbone.
        objective: called with a backbone, returns the method that computes L.
        dims: lengths m of prefixes, D among them; None = D, D/2, D/4, … down to at least 8.
        weights: w_m >= 0, one for each of `dims`; None = 1 each.
        subset_per_step: prefixes of a training step, drawn at random from `dims`; None = all.
        separate_heads: whether each prefix has class weights, biases and temperatures of its own
            (MRL in the paper); otherwise those of D dimensions, of which class weights are cut to
            the same prefix (MRL-E).
    """

    def __init__(
        self,
        arch: Arch,
        objective: Callable[[Arch], Method],
        dims: Sequence[int] | None,
        weights: Sequence[float] | None,
        subset_per_step: int | None,
        separate_heads: bool,
    ) -> None:
        own = objective(arch)
        super().__init__(arch, own)
        self.objective = own
        _refuse_unfit(own)
        self.needs_global_batch = own.needs_global_batch
        self.dims, self.weights = _chosen(arch.class_spec.embedding_dim, dims, weights)
        if own.uses_vmf and min(self.dims) < 2:
            raise ValueError(
                "method.params.dims: von Mises-Fisher distributions need 2 dimensions or more, got "
                f"{list(self.dims)}"
            )
        if subset_per_step is not None and not 1 <= subset_per_step <= len(self.dims):
            raise ValueError(
                f"method.params.subset_per_step: expected 1 to {len(self.dims)}, the number of "
                f"dims, or null for all, got {subset_per_step}"
            )
        self.subset_per_step, self.separate_heads = subset_per_step, separate_heads
        shorter = [m for m in self.dims if m < arch.class_spec.embedding_dim]
        self.heads = nn.ModuleDict()
        self._cut: dict[int, _Cut] = {}  # no submodules: they have no parameters of their own
        if separate_heads:
            self.heads.update({str(m): objective(_PrefixArch(arch, m)) for m in shorter})
            return
        with torch.random.fork_rng(devices=[]):  # the objective draws what it does by itself
            self._cut = {m: _Cut(objective(_PrefixArch(arch, m)), own, m) for m in shorter}

    @property
    def wrapped(self) -> Method:
        """The objective on all D dimensions."""
        return self.objective

    def loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """Embeddings [B, D], labels, other inputs of the objective -> weighted sum, scalar."""
        chosen = self._drawn()
        for i in chosen:
            if self.dims[i] in self._cut:
                self._cut[self.dims[i]].freeze(unless=i == chosen[0])
        total = sum(
            self.weights[i] * self._on_prefix("loss", self.dims[i], embeddings, labels, **context)
            for i in chosen
        )
        if self.separate_heads and len(chosen) < len(self.dims):
            # processes wait for a gradient of every parameter
            idle = [self.dims[i] for i in range(len(self.dims)) if i not in chosen]
            total = total + 0 * sum(p.sum() for dim in idle for p in self._head_parameters(dim))
        return total

    @property
    def loss_is_row_mean(self) -> bool:
        """Whether that of the objective is one, and no prefixes are drawn for a whole batch."""
        return super().loss_is_row_mean and self.subset_per_step is None

    def prefix_logits(self, embeddings: Tensor, dim: int) -> Tensor | None:
        """Embeddings [B, D] -> logits of their first `dim` coordinates [B, C] or [B, S, C].

        Args:
            embeddings: [B, D].
            dim: one of `dims`.
        """
        if dim not in self.dims:
            raise ValueError(f"dim: expected one of {list(self.dims)}, got {dim}")
        return self._on_prefix("logits", dim, embeddings)

    def _on_prefix(
        self, function: str, dim: int, embeddings: Tensor, *rest: Any, **more: Any
    ) -> Any:
        """What a function of the objective returns for the first `dim` coordinates."""
        if dim == embeddings.shape[1]:
            return getattr(self.objective, function)(embeddings, *rest, **more)
        rows = embeddings[:, :dim]
        if dim in self._cut:
            return self._cut[dim](function, rows, *rest, **more)
        return getattr(self.heads[str(dim)], function)(rows, *rest, **more)

    def _drawn(self) -> list[int]:
        """Which of `dims` count in this step."""
        every = list(range(len(self.dims)))
        if self.subset_per_step is None or not self.training:
            return every
        return sorted(torch.randperm(len(every))[: self.subset_per_step].tolist())

    def _head_parameters(self, dim: int) -> list[nn.Parameter]:
        """Parameters of the head of a prefix that has its own."""
        backbone = {id(p) for p in self.arch.parameters()}
        head = self.heads[str(dim)] if str(dim) in self.heads else self.objective
        return [p for p in head.parameters() if id(p) not in backbone]

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`: those of the objective, its embeddings scaled if that is asked."""
        inputs = self.objective.loss_inputs(batch)
        return inputs | {"embeddings": self.scale_features(inputs["embeddings"], inputs["labels"])}

    def describe(self) -> dict[str, Any]:
        """What embedding files record of the method: the lengths of prefixes."""
        prefixes = {"dims": list(self.dims), "separate_heads": self.separate_heads}
        return {**self.objective.describe(), "prefixes": prefixes}

    # settings that every prefix receives

    def _others(self) -> list[Method]:
        return [*self.heads.values(), *(cut.module.method for cut in self._cut.values())]

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of the objective and of all objectives on prefixes."""
        super().train(mode)
        for other in self._others():
            other.train(mode)
        return self

    def configure(self, **known: Any) -> None:
        """Configures the objective and those on prefixes, see `Method.configure`."""
        for each in (self.objective, *self._others()):
            each.configure(**known)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Gives the images per class [C] to the objective and those on prefixes."""
        for each in (self.objective, *self._others()):
            each.set_class_counts(class_counts)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the objective and those on prefixes that an epoch begins."""
        for each in (self.objective, *self._others()):
            each.begin_epoch(epoch)

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their own learning rate, of separate heads too."""
        every = (self.objective, *self.heads.values())
        return [group for each in every for group in each.extra_param_groups()]

    def param_groups(
        self, temp_learning_rate: float, class_weight_decay: str = "none"
    ) -> list[dict[str, Any]]:
        """Parameter groups of the objective and of separate heads."""
        every = (self.objective, *self.heads.values())
        asked = temp_learning_rate, class_weight_decay
        return [group for each in every for group in each.param_groups(*asked)]


class _PrefixArch(Arch):
    """Stands for a backbone of m dimensions: an objective on the prefix is built on it."""

    def __init__(self, arch: Arch, dim: int) -> None:
        super().__init__(replace(arch.class_spec, embedding_dim=dim), normalize=arch.normalize)
        if hasattr(arch, "n_features"):
            self.n_features = arch.n_features
        self.projection = nn.Identity()
        self._init_class_weights = arch.init_class_weights

    def features(self, images: Tensor) -> Tensor:
        """Not called: prefixes are cut from embeddings."""
        raise NotImplementedError

    def init_class_weights(self, weight: Tensor) -> None:
        """As in the backbone."""
        self._init_class_weights(weight)


class _Named(nn.Module):
    """A method whose functions are called by their names, through `forward`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.method, function)(*args, **kwargs)


class _Cut:
    """An objective on m dimensions with the tensors of the one on D, cut where D became m.

    Args:
        method: built for m dimensions.
        full: built for D.
        dim: m.
    """

    def __init__(self, method: Method, full: Method, dim: int) -> None:
        self.module, self._full = _Named(method), (full,)  # in a tuple: no submodule
        whole = full.arch.class_spec.embedding_dim
        theirs = _tensors(full)
        self._places: dict[str, list[tuple[int, int]]] = {}  # name -> axes to cut, and lengths
        for name, tensor in _tensors(method).items():
            sizes = zip(theirs[name].shape, tensor.shape, strict=False)
            axes = [(axis, dim) for axis, pair in enumerate(sizes) if pair == (whole, dim)]
            self._places[name] = axes
        moving = (each for each in self.module.modules() if hasattr(each, "moves_in_pass"))
        of_full = (each for each in full.modules() if hasattr(each, "moves_in_pass"))
        self._moving = list(zip(moving, of_full, strict=True))

    def freeze(self, *, unless: bool) -> None:
        """Keeps what modules count in their buffers, which are those of `full`, as it is.

        Args:
            unless: True where nothing else counts the batch: then it is counted if `full` would.
        """
        for own, theirs in self._moving:
            own.frozen = theirs.frozen or not unless

    def __call__(self, function: str, *args: Any, **kwargs: Any) -> Any:
        theirs, own = _tensors(self._full[0]), {}
        for name, axes in self._places.items():
            tensor = theirs[name]
            for axis, length in axes:
                tensor = tensor.narrow(axis, 0, length)
            own[f"method.{name}"] = tensor
        return functional_call(self.module, own, (function, *args), kwargs)


def _tensors(method: Method) -> dict[str, Tensor]:
    return {**dict(method.named_parameters()), **dict(method.named_buffers())}


def _refuse_unfit(method: Method) -> None:
    """Refuses objectives that are no loss on any number of coordinates."""
    reason = method.not_on_prefixes
    if reason is None and type(method).training_step is not Method.training_step:
        reason = "it has a training step of its own"
    if reason is None and method.has_teacher():
        reason = "it learns from a teacher, and could be the one that trains this method"
    if reason is None and method.max_batch_size is not None:
        reason = "it remembers embeddings of earlier batches"
    if reason is not None:
        raise ValueError(
            f"method=matryoshka cannot train method={method.name} on prefixes: {reason}. Choose "
            "another one, as in method.params.objective=vmf_softmax"
        )


def _chosen(
    dim: int, dims: Sequence[int] | None, weights: Sequence[float] | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Lengths in falling order, and their weights."""
    if dims is None:
        lengths = [dim]
        while lengths[-1] // 2 >= LEAST_DIM:
            lengths.append(lengths[-1] // 2)
    else:
        lengths = list(dims)
    whole = all(isinstance(m, int) and 1 <= m <= dim for m in lengths)
    if not whole or len(set(lengths)) != len(lengths) or dim not in lengths:
        raise ValueError(
            f"method.params.dims: expected different whole numbers from 1 to {dim}, with {dim} "
            f"(arch.params.embedding_dim) among them, got {lengths}"
        )
    factors = [1.0] * len(lengths) if weights is None else list(weights)
    fine = all(0 <= w < math.inf for w in factors) and any(factors)
    if len(factors) != len(lengths) or not fine:
        raise ValueError(
            f"method.params.weights: expected {len(lengths)} numbers >= 0, one for each of the "
            f"dims {lengths}, not all 0, got {factors}"
        )
    pairs = sorted(zip(lengths, factors, strict=True), reverse=True)
    return tuple(m for m, _ in pairs), tuple(w for _, w in pairs)
