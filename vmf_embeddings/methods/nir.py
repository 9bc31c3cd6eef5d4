"""Non-isotropy regularisation: a flow must be able to tell where around its proxy an image lies.

Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric Learning", CVPR,
https://arxiv.org/abs/2203.08547.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.flows import ConditionalFlow, flow_objective, negative_log_likelihood
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.gradient_fraction import FlowGradientFraction
from vmf_embeddings.methods.precision import full_precision


class NIR(Method):
    """L = w_flow * objective(-log p(x | proxy of its class)) + w_align * proxy criterion.

    Gradients of the flow's term reach backbone and proxies, the latter through the condition. With
    `w_flow` 0 there is no flow: the matched control, whose proxies start at the same numbers.
    `conf/method/nir.yaml` explains each knob.

    Args:
        arch: the backbone; both terms see unit vectors, whether it gives such or not.
        criterion: any with `proxies`.
        miner: None; proxy criteria look at the whole batch.
        flow: knobs of `ConditionalFlow` but its dimension.
        flow_objective: of `flows.likelihood.OBJECTIVES`.
        w_flow: >= 0.
        w_align: >= 0.
        noise: >= 0, scale of uniform noise on what the flow sees.
        logmatch: >= 0, weight of the log-determinant in the likelihood.
        pair_perc: in (0, 1], share of a batch that the flow sees, drawn for every batch.
        proxy_lr_factor: >= 0, learning rate of the criterion's parameters over the run's; None =
            as the criterion says.
        flow_lr_factor: >= 0, the same of the flow.
    """

    needs_global_batch = True

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
        proxy_lr_factor: float | None,
        flow_lr_factor: float,
    ) -> None:
        super().__init__(arch)
        _check(
            flow_objective,
            pair_perc,
            w_flow=w_flow,
            w_align=w_align,
            noise=noise,
            logmatch=logmatch,
            proxy_lr_factor=proxy_lr_factor,
            flow_lr_factor=flow_lr_factor,
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
        # made last: proxies and backbone start alike with and without it
        self.flow = ConditionalFlow(dim, **flow) if w_flow else None
        self.flow_objective, self.w_flow, self.w_align = flow_objective, w_flow, w_align
        self.noise, self.logmatch, self.pair_perc = noise, logmatch, pair_perc
        self.proxy_lr_factor, self.flow_lr_factor = proxy_lr_factor, flow_lr_factor
        self._share, self._terms = FlowGradientFraction(), Means()

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> weighted sum of both terms, scalar."""
        rows = self._rows(embeddings)
        if self.flow is None:
            proxy_term = self.criterion(rows, labels)
            self._terms.add(proxy_loss=proxy_term)
            return self.w_align * proxy_term
        for_flow, for_proxies = self._share.branch(rows)
        proxy_term = self.criterion(for_proxies, labels)
        nll = self.flow_nll(for_flow, labels)
        self._terms.add(flow_nll=nll.mean(), proxy_loss=proxy_term)
        flow_term = flow_objective(nll, embeddings.shape[1], self.flow_objective)
        return self.w_flow * flow_term + self.w_align * proxy_term

    def _rows(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of length 1, which those of most backbones are made to be here."""
        return embeddings if self.arch.normalize else nn.functional.normalize(embeddings, dim=-1)

    def flow_nll(self, x: Tensor, labels: Tensor) -> Tensor:
        """How unlikely the flow finds rows around the proxies of their classes.

        Args:
            x: [B, D], of length 1.
            labels: [B].

        Returns:
            Nats [B], without D/2 log(2 pi); [round(pair_perc B)] in training, of rows drawn.
        """
        if self.training and self.pair_perc < 1:
            n_seen = max(1, round(self.pair_perc * len(x)))
            drawn = torch.randperm(len(x), device=x.device)[:n_seen]
            x, labels = x[drawn], labels[drawn]
        if self.training and self.noise:
            x = nn.functional.normalize(x + self.noise * torch.rand_like(x), dim=-1)
        condition = own_proxies(self.criterion.proxies, x, labels)
        return negative_log_likelihood(*self.flow(x, condition), self.logmatch)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> the criterion's logits [B, C]."""
        return self.criterion.logits(self._rows(embeddings))

    @property
    def has_logits(self) -> bool:
        """Whether the criterion has."""
        return self.criterion.has_logits

    @property
    def geometry(self) -> Geometry:
        """The criterion's."""
        return self.criterion.geometry

    @property
    def class_weights(self) -> Tensor | None:
        """The criterion's [C, D]."""
        return self.criterion.class_weights

    def begin_epoch(self, epoch: int) -> None:
        """Begins the means of `status` anew."""
        self._share.reset()
        self._terms.reset()

    def status(self) -> dict[str, float]:
        """Means over the epoch's batches: NLL, the flow's share of the gradient, the proxy term.

        Of whole batches, in every process. The proxy term is not weighted.
        """
        share = self._share.mean()
        return self._terms.means() | ({} if share is None else {"flow_gradient_share": share})

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Of the criterion, the flow, and the networks before its conditions; none decay."""
        own = self.criterion.extra_param_groups()
        if self.proxy_lr_factor is not None:
            parameters = list(self.criterion.parameters())
            own = [{"params": parameters, "lr_factor": self.proxy_lr_factor, "weight_decay": 0.0}]
        if self.flow is None:
            return own
        parts = self.flow.couplings, self.flow.conditions
        rate = {"lr_factor": self.flow_lr_factor, "weight_decay": 0.0}
        return own + [{"params": list(part.parameters())} | rate for part in parts]


def own_proxies(proxies: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The unit proxy of every row's class; of several, the one nearest to the row.

    Args:
        proxies: [C, D], or [C, K, D], of any length; gradients reach them.
        embeddings: [B, D], which nearness is judged by.
        labels: [B].

    Returns:
        [B, D].

    Example:
        >>> proxies = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
        >>> own_proxies(proxies, torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
        tensor([[0., 1.]])
    """
    own = nn.functional.normalize(proxies, dim=-1)[labels]
    if own.ndim == 2:
        return own
    nearest = (own.detach() @ embeddings.detach()[:, :, None]).squeeze(-1).argmax(1)
    return own[torch.arange(len(own), device=own.device), nearest]


class Means:
    """Means of named scalars over batches, on their device until somebody asks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what it saw."""
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, **values: Tensor) -> None:
        """Takes the scalars of one batch."""
        for name, value in values.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if self._count else value
        self._count += 1

    def means(self) -> dict[str, float]:
        """The mean of each; nothing before the first batch."""
        return {name: float(value) / self._count for name, value in self._sums.items()}


def _check(objective: str, pair_perc: float, **at_least_zero: float | None) -> None:
    """Refuses knobs out of their range."""
    flow_objective(torch.zeros(1), 1, objective)
    if not 0 < pair_perc <= 1:
        raise ValueError(f"method.params.pair_perc is a share in (0, 1], got {pair_perc}.")
    for key, value in at_least_zero.items():
        if value is not None and not value >= 0:
            raise ValueError(f"method.params.{key} must be >= 0, got {value}.")
    if not (at_least_zero["w_flow"] or at_least_zero["w_align"]):
        raise ValueError("method.params.w_flow and method.params.w_align must not both be 0.")
