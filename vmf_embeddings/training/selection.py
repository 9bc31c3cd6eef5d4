"""By which validation score the best epoch is chosen: the only place that knows what is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.search.same_image import same_image
from vmf_embeddings.untrusted.refused import Refused

ACCURACY, RECALL_AT_1, MAP_AT_R, NLL = "accuracy", "Recall@1", "MAP@R", "NLL"
# values of mode.select_by -> names of the scores
BY = {"accuracy": ACCURACY, "nll": NLL, "recall@1": RECALL_AT_1, "map@r": MAP_AT_R}
CHOICES = ("auto", *BY)
NO_EPOCH_YET = {"epoch": -1, "train_loss": float("inf"), "valid_acc": -1.0}


class ValidationScores(NamedTuple):
    """What validation computes after an epoch.

    Attributes:
        metric: accuracy, Recall@1 or MAP@R, a fraction in [0, 1].
        nll: negative log-likelihood of the classes, mean over the rows, nats, infinite if it is not
            a number; None without logits of the split's classes.
    """

    metric: float
    nll: float | None = None


@dataclass(frozen=True)
class Selection:
    """Compares epochs by their validation scores.

    Epochs with equal scores differ by their NLL where there are logits: the lower one is better.
    Of epochs that are equal in this, too, the first is kept.

    Attributes:
        by: `accuracy`, `NLL`, `Recall@1` or `MAP@R`.
        keeps_last: whether the last epoch is kept whatever its scores, `mode.select=last`.
    """

    by: str
    keeps_last: bool = False

    @classmethod
    def of(cls, select_by: str, select: str, method: Method, *, open_set: bool) -> "Selection":
        """The selection that `mode.select_by` and `mode.select` ask for.

        Args:
            select_by: one of CHOICES; `auto` is Recall@1 on open sets and without logits, else
                accuracy.
            select: `valid`, `test` or `last`.
            method: what is validated.
            open_set: whether the classes of held-out splits are unknown to the method.
        """
        auto = RECALL_AT_1 if open_set or not method.has_logits else ACCURACY
        return cls(BY.get(select_by, auto), select == "last")

    @property
    def metric_name(self) -> str:
        """Which score is `ValidationScores.metric`: the one that selects, but of NLL accuracy."""
        return ACCURACY if self.by == NLL else self.by

    def for_schedule(self, scores: ValidationScores) -> float:
        """The score that selects as a number in [0, 1], larger is better.

        Of the NLL that is exp(-NLL), the geometric mean of the probabilities.
        """
        if self.by != NLL:
            return scores.metric
        return 0.0 if scores.nll is None else math.exp(-scores.nll)

    def updated(
        self, best: Mapping[str, Any], epoch: int, train_loss: float, scores: ValidationScores
    ) -> dict[str, Any]:
        """The best epoch, now that another has ended.

        Args:
            best: `epoch`, `train_loss` and `valid_acc` of the best so far; also `valid_nll` where
                there are logits, and `improved`, see `improved`.
            epoch: that has ended.
            train_loss: nats.
            scores: of validation.

        Returns:
            Keys as of `best`.
        """
        better = self._compared(scores, best)
        is_lower = better == 0 and _is_lower(scores.nll, best.get("valid_nll"))
        if not (self.keeps_last or better > 0 or is_lower):
            return dict(best)
        new = {"epoch": epoch, "train_loss": train_loss, "valid_acc": scores.metric}
        if scores.nll is not None:
            new["valid_nll"] = scores.nll
        if not self.keeps_last and better <= 0:
            new["improved"] = improved(best)
        return new

    def _compared(self, scores: ValidationScores, best: Mapping[str, Any]) -> int:
        """1, 0 or -1: scores are better than those of the best epoch, equal, or worse."""
        if self.by == NLL:
            new, old = scores.nll, best.get("valid_nll")
            return int(_is_lower(new, old) or old is None) - int(_is_lower(old, new))
        old = best["valid_acc"]
        return int(scores.metric > old) - int(scores.metric < old)

    def in_words(self, best: Mapping[str, Any]) -> str:
        """The score of the best epoch, such as `0.9907`, or `NLL 0.0312`."""
        if self.by == NLL and "valid_nll" in best:
            return f"NLL {best['valid_nll']:.4f}"
        return f"{best['valid_acc']:.4f}"


def improved(best: Mapping[str, Any]) -> int:
    """The epoch that was the last one with a better score: an equal one with a lower NLL is not.

    Patience counts from there, as does a plateau of the learning rate.
    """
    return int(best.get("improved", best["epoch"]))


def _is_lower(new: float | None, old: float | None) -> bool:
    return new is not None and old is not None and new < old


def refuse_unsuited(select_by: str, method: Method, split: Split, *, open_set: bool) -> None:
    """Refuses a `mode.select_by` that says nothing about this method on this split.

    Args:
        select_by: one of CHOICES.
        method: what is trained.
        split: on which epochs are compared.
        open_set: whether its classes are unknown to the method.

    Raises:
        Refused: with what to type.
    """
    asked = f"mode.select_by={select_by}"
    if select_by in ("accuracy", "nll"):
        if open_set:
            raise Refused(
                f"{asked}: the classes of the validation split are unknown to the method, which "
                "has no probabilities for them; use mode.select_by=recall@1 or map@r"
            )
        if not method.has_logits:
            raise Refused(
                f"{asked}: method={method.name} predicts no classes, it has no logits; use "
                "mode.select_by=recall@1 or map@r"
            )
    if select_by in ("recall@1", "map@r") and not has_pairs(split):
        others = "" if open_set or not method.has_logits else "mode.select_by=accuracy, or "
        raise Refused(
            f"{asked}: no two of the {len(split)} {split.unit} that validate are of one class, so "
            f"that no neighbour can be right; use {others}mode.select=last, which keeps the last "
            "epoch"
        )


def has_pairs(split: Split) -> bool:
    """Whether some query of a split has another gallery row of its class, of another image."""
    labels = split.labels.cpu()
    images = same_image(split.paths)
    rows = range(len(labels)) if images is None else images.tolist()
    queries, gallery = (
        [True] * len(labels) if mask is None else mask.tolist()
        for mask in (split.is_query, split.is_gallery)
    )
    of_class: dict[int, set[int]] = {}
    for label, image, is_gallery in zip(labels.tolist(), rows, gallery, strict=True):
        if is_gallery:
            of_class.setdefault(label, set()).add(image)
    return any(
        is_query and of_class.get(label, set()) - {image}
        for label, image, is_query in zip(labels.tolist(), rows, queries, strict=True)
    )


def how_close(
    rows: Sequence[Mapping[str, float]], selection: Selection, column: str, split: Split
) -> str:
    """How far apart the two best epochs are, and what chance alone does on so many rows.

    Args:
        rows: of the records, one per epoch.
        selection: compares them.
        column: of the metric in the records, such as `valid_metric`.
        split: on which epochs were compared.

    Returns:
        A line for the log; empty with fewer than two epochs.
    """
    key = "valid_nll" if selection.by == NLL else column
    sign = -1.0 if selection.by == NLL else 1.0
    known = [row for row in rows if key in row and row["epoch"] >= 0]
    order = sorted(known, key=lambda r: (-sign * r[key], r.get("valid_nll", 0.0), r["epoch"]))
    if len(order) < 2:
        return ""
    first, second = order[:2]
    if selection.by == NLL:
        pair = (f"epoch {row['epoch']} {row[key]:.4f}" for row in (first, second))
        return f"NLL of the best epochs: {', '.join(pair)}; {_size(split)}"
    n = len(split) if split.is_query is None else int(split.is_query.sum())
    pair = (f"epoch {row['epoch']} {row[key]:.4f}" for row in (first, second))
    return (
        f"{selection.by} of the best epochs: {', '.join(pair)}, {_apart(first, second, key, n)}; "
        f"{_size(split)}: one is {1 / n:.2%}, the binomial standard error "
        f"{math.sqrt(first[key] * (1 - first[key]) / n):.2%}"
    )


def _size(split: Split) -> str:
    return f"validation split of {len(split):,} {split.unit}"


def _apart(first: Mapping[str, float], second: Mapping[str, float], key: str, n: int) -> str:
    """How many of n rows the difference of two fractions amounts to."""
    rows = (first[key] - second[key]) * n
    if rows == 0 and "valid_nll" in first and "valid_nll" in second:
        return f"equal, NLL {first['valid_nll']:.4f} and {second['valid_nll']:.4f}"
    if rows < 1 - 1e-9:
        return f"differing by less than one of {n:,}"
    return f"differing by {rows:.0f} of {n:,}"
