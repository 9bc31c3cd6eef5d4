"""Non-isotropy regularisation: a normalising flow models embeddings conditioned on their proxy.

Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric Learning", CVPR,
https://arxiv.org/abs/2203.08547.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.base import (
    PUBLISHED_LEARNING_RATE,
    Criterion,
    factor_of_rate,
    param_group,
)
from vmf_embeddings.directional.unit import unit_vectors
from vmf_embeddings.flows import ConditionalFlow, flow_objective, negative_log_likelihood
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.gradient_fraction import FlowGradientFraction
from vmf_embeddings.methods.parameter_groups import take_rate
from vmf_embeddings.methods.precision import full_precision

# learning rates of the flow at which the loss was infinite at step 1 or 2 (digits, D = 128), by
# whether the optimizer is adaptive; at 0.02 and 0.5 it trained
FLOW_DIVERGES_AT = {True: 0.05, False: 1.0}


class NIR(Method):
    """Loss w_flow * objective(-log p(x | proxy of its class)) + w_align * proxy criterion.

    The gradient of the flow term reaches the backbone, and the proxies as conditions. With
    `w_flow` 0 there is no flow: the control experiment, with the same initial proxies.
    `conf/method/nir.yaml` documents the parameters.

    Args:
        arch: the backbone; its embeddings are normalised for both terms.
        criterion: any with `proxies`.
        miner: None; proxy criteria use the whole batch.
        flow: parameters of `ConditionalFlow` except its dimension.
        flow_objective: one of `flows.likelihood.OBJECTIVES`.
        w_flow: weight of the flow term, >= 0.
        w_align: weight of the proxy criterion, >= 0.
        noise: scale of uniform noise added to the input of the flow, >= 0.
        logmatch: weight of the log-determinant in the likelihood, >= 0.
        pair_perc: fraction of each batch that the flow uses, drawn at random, in (0, 1].
        proxy_lr_factor: learning rate of the criterion's parameters over that of the run, >= 0 or
            "auto", see `criteria.base.factor_of_rate`; None = the criterion's own.
        flow_lr_factor: learning rate of the flow over that of the run, >= 0 or "auto".
    """

    needs_global_batch = True
    not_on_prefixes = "its flow models all coordinates together"

    def __init__(
        self,
        arch: Arch,
        criterion: Criterion,
        miner: Any | None,
        flow: dict[str, Any],
        flow_objective: str,
        w_flow: float,
        w_align: float,
        noise: float,
        logmatch: float,
        pair_perc: float,
        proxy_lr_factor: float | str | None,
        flow_lr_factor: float | str,
    ) -> None:
        super().__init__(arch)
        _check(
            flow_objective,
            pair_perc,
            w_flow=w_flow,
            w_align=w_align,
            noise=noise,
            logmatch=logmatch,
        )
        criterion.check_miner(None if miner is None else miner.name)
        dim = arch.class_spec.embedding_dim
        criterion.build(known_classes(arch.class_spec), dim, getattr(arch, "n_features", None))
        if getattr(criterion, "proxies", None) is None:
            raise ValueError(
                f"method=nir regularises around the proxies of its criterion, and criterion="
                f"{criterion.name} has none; say criterion=proxy_anchor, or method=dml."
            )
        self.criterion = criterion
        # created last, so that proxies and backbone have the same initial values without it
        self.flow = ConditionalFlow(dim, **flow) if w_flow else None
        self.flow_objective, self.w_flow, self.w_align = flow_objective, w_flow, w_align
        self.noise, self.logmatch, self.pair_perc = noise, logmatch, pair_perc
        self.proxy_lr_factor, self.flow_lr_factor = proxy_lr_factor, flow_lr_factor
        self._flow_rate = factor_of_rate(flow_lr_factor, 50.0, "method.params.flow_lr_factor")
        self._proxy_rate = (
            None
            if proxy_lr_factor is None
            else factor_of_rate(proxy_lr_factor, 4000.0, "method.params.proxy_lr_factor")
        )
        self._gradient_fraction, self._terms = FlowGradientFraction(), Means()

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> weighted sum of both terms, scalar."""
        rows = self._rows(embeddings)
        if self.flow is None:
            proxy_term = self.criterion(rows, labels)
            self._terms.add(proxy_loss=proxy_term)
            return self.w_align * proxy_term
        for_flow, for_proxies = self._gradient_fraction.branch(rows)
        proxy_term = self.criterion(for_proxies, labels)
        nll = self.flow_nll(for_flow, labels)
        self._terms.add(flow_nll=nll.mean(), proxy_loss=proxy_term)
        flow_term = flow_objective(nll, embeddings.shape[1], self.flow_objective)
        return self.w_flow * flow_term + self.w_align * proxy_term

    def _rows(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> unit vectors [B, D]."""
        return embeddings if self.arch.normalize else unit_vectors(embeddings)

    def flow_nll(self, x: Tensor, labels: Tensor) -> Tensor:
        """Negative log-likelihood of rows under the flow, given the proxies of their classes.

        Args:
            x: [B, D], of norm 1.
            labels: [B].

        Returns:
            In nats, without the constant D/2 log(2 pi), [B]; in training [round(pair_perc B)], of a
            random subset.
        """
        if self.training and self.pair_perc < 1:
            n_used = max(1, round(self.pair_perc * len(x)))
            drawn = torch.randperm(len(x), device=x.device)[:n_used]
            x, labels = x[drawn], labels[drawn]
        if self.training and self.noise:
            x = unit_vectors(x + self.noise * torch.rand_like(x))
        condition = own_proxies(self.criterion.proxies, x, labels)
        return negative_log_likelihood(*self.flow(x, condition), self.logmatch)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits of the criterion [B, C], or None."""
        return self.criterion.logits(self._rows(embeddings))

    @property
    def has_logits(self) -> bool:
        """Whether the criterion has logits."""
        return self.criterion.has_logits

    @property
    def geometry(self) -> Geometry:
        """Geometry of the criterion."""
        return self.criterion.geometry

    @property
    def class_weights(self) -> Tensor | None:
        """Class weights of the criterion [C, D]."""
        return self.criterion.class_weights

    def begin_epoch(self, epoch: int) -> None:
        """Resets the means of `status`."""
        self._gradient_fraction.reset()
        self._terms.reset()

    def status(self) -> dict[str, float]:
        """Means over the epoch: NLL, proxy loss (unweighted), fraction of the flow's gradient.

        They are of global batches, in every process.
        """
        fraction = self._gradient_fraction.mean()
        known = {} if fraction is None else {"flow_gradient_share": fraction}
        return self._terms.means() | known

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Groups of the criterion, the flow, and its condition networks; without weight decay."""
        own = self.criterion.extra_param_groups()
        if self._proxy_rate is not None:
            own = param_group(self.criterion.parameters(), **self._proxy_rate)
        if self.flow is None:
            return own
        parts = self.flow.couplings, self.flow.conditions
        return own + [
            g for part in parts for g in param_group(part.parameters(), **self._flow_rate)
        ]

    def refuse_rates(self, learning_rate: float, *, adaptive: bool) -> None:
        """Refuses a learning rate of the flow at which its likelihood overflows in a few steps."""
        rate = take_rate(dict(self._flow_rate), learning_rate)
        if self.flow is not None and rate >= FLOW_DIVERGES_AT[adaptive]:
            fitting = 50 * PUBLISHED_LEARNING_RATE / learning_rate
            raise ValueError(
                f"method.params.flow_lr_factor={self.flow_lr_factor:g} times mode.learning_rate="
                f"{learning_rate:g} is {rate:g}, at which the flow diverges in its first steps: "
                f"leave the factor out (auto), or type method.params.flow_lr_factor={fitting:g}, "
                f"which makes the published {50 * PUBLISHED_LEARNING_RATE:g}."
            )


def own_proxies(proxies: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Normalised proxy of the class of every row; of several proxies, the closest to the row.

    Args:
        proxies: [C, D], or [C, K, D], of any norm; differentiable.
        embeddings: [B, D], used to find the closest proxy only.
        labels: [B].

    Returns:
        [B, D].

    Example:
        >>> proxies = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
        >>> own_proxies(proxies, torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
        tensor([[0., 1.]])
    """
    own = unit_vectors(proxies)[labels]
    if own.ndim == 2:
        return own
    nearest = (own.detach() @ embeddings.detach()[:, :, None]).squeeze(-1).argmax(1)
    return own[torch.arange(len(own), device=own.device), nearest]


class Means:
    """Means of named scalars over batches; the device is not synchronised before `means`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts all means over."""
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, **values: Tensor) -> None:
        """Adds the scalars of one batch."""
        for name, value in values.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if self._count else value
        self._count += 1

    def means(self) -> dict[str, float]:
        """Mean of each scalar; empty before the first batch."""
        return {name: float(value) / self._count for name, value in self._sums.items()}


def _check(objective: str, pair_perc: float, **at_least_zero: float | None) -> None:
    """Refuses parameters out of their range."""
    flow_objective(torch.zeros(1), 1, objective)
    if not 0 < pair_perc <= 1:
        raise ValueError(f"method.params.pair_perc is a fraction in (0, 1], got {pair_perc}.")
    for key, value in at_least_zero.items():
        if value is not None and not value >= 0:
            raise ValueError(f"method.params.{key} must be >= 0, got {value}.")
    if not (at_least_zero["w_flow"] or at_least_zero["w_align"]):
        raise ValueError("method.params.w_flow and method.params.w_align must not both be 0.")
