"""Class frequencies taken out of stored logits, and test sets of other frequencies.

Menon et al. 2021, https://arxiv.org/abs/2007.07314 (z - tau log pi after training); Hong et al.
2021, https://arxiv.org/abs/2012.00321 (test sets that are long-tailed forward and backward).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.class_sizes import train_counts
from vmf_embeddings.evaluation.context import Classified, Context
from vmf_embeddings.evaluation.fitting import fitting_rows, notes_on_fit
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText
from vmf_embeddings.metrics.prior import (
    TAUS,
    Predictions,
    TauChoice,
    choose_tau,
    class_recall,
    estimated_prior,
    first_rows,
    log_frequencies,
    long_tailed_counts,
    predictions,
    recall_means,
    weighted_share,
)
from vmf_embeddings.metrics.resampling import WeightedScore, weighted_class_mean, weighted_mean
from vmf_embeddings.metrics.shots import GROUPS

RATIOS = (2, 5, 10, 25, 50)
_SMALLEST_CHANGE = 1e-7  # of an estimated frequency
ROWS_TO_ESTIMATE = 100  # of each class; with fewer the estimate of the frequencies collapses
TABLE = TableText(
    title="Class frequencies of training in the logits",
    head="logits or test set",
    columns={
        "tau": ("tau", 1, 2),
        "accuracy": ("accuracy %", 100, 2),
        "macro_accuracy": ("macro %", 100, 2),
        "geometric_mean": ("geometric %", 100, 2),
        "harmonic_mean": ("harmonic %", 100, 2),
        "worst_class": ("worst class %", 100, 1),
        "worst_tenth": ("worst tenth %", 100, 1),
        "classes_never_right": ("never right", 1, 0),
        **{group: (f"{group} %", 100, 1) for group in GROUPS},
        "nll": ("NLL", 1, 4),
        "plain": ("plain %", 100, 2),
        "uniform_prior": ("uniform prior %", 100, 2),
        "true_prior": ("true prior (oracle) %", 100, 2),
        "true_prior_if_removed": ("the same if removed already %", 100, 2),
        "estimated_prior": ("estimated prior %", 100, 2),
    },
    label=lambda row: row.rpartition("/")[2].replace("_", " "),
    block=lambda row: {
        "adjusted": "Logits minus tau log frequency",
        "test": "Accuracy on test sets of these frequencies: rows of the test set weighted",
    }[row.partition("/")[0]],
    exact=("tau",),
)


def score(context: Context) -> ScoreTable:
    """Scores logits minus tau log pi, and on test sets of other class frequencies.

    Raises:
        ValueError: the file has no logits of a closed set, or does not record its training images;
            or `options.fit_on` cannot be used.
    """
    classified = context.classified
    if classified is None:
        raise ValueError("metrics=prior needs the logits of a closed set: this file has none")
    counts = train_counts(context.evaluated, classified.predicted.n_classes)
    if counts is None or not counts.sum():
        raise ValueError(
            "metrics=prior needs the training images of each class, train_class_counts of meta: "
            "this file does not record them, or says that there were none"
        )
    return _Prior(context, classified, counts).table()


@dataclass(frozen=True)
class _Prior:
    """What is read of a file.

    Args:
        context: the file.
        classified: its rows of known class.
        counts: int64 [C] training images.
    """

    context: Context
    classified: Classified
    counts: Tensor

    @cached_property
    def logits(self) -> Tensor:
        given = self.context.file.logits
        assert given is not None
        every = len(self.classified.rows) == len(given)
        return torch.from_numpy(given if every else given[self.classified.rows])

    @cached_property
    def labels(self) -> Tensor:
        return torch.from_numpy(self.classified.ids)

    @cached_property
    def removed(self) -> bool | None:
        """Whether the logits are without the frequencies of training; None = not recorded."""
        return self.context.evaluated.meta("prior_removed")

    @cached_property
    def log_prior(self) -> Tensor:
        """Log frequencies that are in the logits [C], taken as those of training if unknown."""
        return torch.zeros(len(self.counts)) if self.removed else log_frequencies(self.counts)

    def predicted(self, offset: Tensor) -> Predictions:
        return predictions(self.logits, self.labels, offset)

    @cached_property
    def plain(self) -> Predictions:
        return self.predicted(torch.zeros(len(self.counts)))

    @cached_property
    def uniform(self) -> Predictions:
        return self.plain if self.removed else self.predicted(-self.log_prior)

    def table(self) -> ScoreTable:
        table = ScoreTable()
        choice = self._choice(table)
        self._add_adjusted(table, "tau_0", 0.0, self.plain)
        if not self.removed:
            self._add_adjusted(table, "tau_1", 1.0, self.uniform)
        if choice is not None:
            chosen = self.predicted(-choice.tau * self.log_prior)
            self._add_adjusted(table, "tau_chosen", choice.tau, chosen)
        self._add_test_sets(table)
        self._describe(table)
        return table

    def _choice(self, table: ScoreTable) -> TauChoice | None:
        """The strength of the prior that is best on other rows; None without them."""
        if self.removed:
            table.notes.append(
                "training took the class frequencies out of these logits (prior_removed): they are "
                "not taken out again"
            )
            return None
        rows = fitting_rows(self.context)
        table.notes += notes_on_fit(self.context, rows, "tau")
        if rows is None:
            return None
        found = choose_tau(rows.logits, rows.labels, self.log_prior)
        smallest = int(torch.bincount(rows.labels, minlength=len(self.counts)).min())
        table.about["tau"] = {
            "value": found.tau,
            "fitted_on": rows.name,
            "fitted_on_rows": len(rows.labels),
            "rows_of_smallest_class": smallest,
            "macro_accuracy": dict(zip(map(str, TAUS), found.macro_accuracy, strict=True)),
        }
        table.curves["taus"] = np.array(TAUS)
        table.curves["macro_accuracy_fitted_on"] = np.array(found.macro_accuracy)
        table.notes.append(
            f"tau {found.tau:g} has the largest macro accuracy on {len(rows.labels):,} rows of "
            f"{rows.name}, {smallest} of the smallest class"
        )
        return found

    def _add_adjusted(self, table: ScoreTable, name: str, tau: float, found: Predictions) -> None:
        recall = class_recall(found.guess, self.labels, len(self.counts))
        correct = (found.guess == self.labels).double()
        table.rows[f"adjusted/{name}"] = {
            "tau": tau,
            "accuracy": float(correct.mean()),
            **recall_means(recall),
            **{group: float(recall[own].mean()) for group, own in self._groups(recall)},
            "nll": float(-found.log_p.mean()),
        }
        classes = self.context.file.ids
        table.weighted[f"adjusted/{name}/accuracy"] = weighted_mean(self._every(correct))
        table.weighted[f"adjusted/{name}/macro_accuracy"] = weighted_class_mean(
            self._every(correct), classes
        )
        row = f"adjusted/{name}"
        table.drawn[f"{row}/nll"] = weighted_mean(self._every(-found.log_p))
        for group, own in self._groups(recall):
            of_group = torch.where(own[self.labels], correct, torch.nan)
            table.drawn[f"{row}/{group}"] = weighted_class_mean(self._every(of_group), classes)

    def _groups(self, recall: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Many-, medium- and few-shot classes, bool [C], of those that have rows."""
        if not self.context.evaluated.long_tailed:
            return
        groups, known = self.context.options.thresholds.group(self.counts), ~recall.isnan()
        for number, name in enumerate(GROUPS):
            own = (groups == number) & known
            if bool(own.any()):
                yield name, own

    def _every(self, values: Tensor) -> Tensor:
        """Values of the classified rows among all rows, NaN for others."""
        every = torch.full((len(self.context.file.ids),), torch.nan, dtype=torch.float64)
        every[torch.from_numpy(self.classified.rows)] = values
        return every

    def _add_test_sets(self, table: ScoreTable) -> None:
        of_class = torch.bincount(self.labels, minlength=len(self.counts))
        estimates = int(of_class.min()) >= ROWS_TO_ESTIMATE
        table.about["rows_of_smallest_class"] = int(of_class.min())
        if not estimates:
            table.about["estimated_prior"] = (
                f"needs {ROWS_TO_ESTIMATE} rows of each class, the smallest has {of_class.min()}"
            )
        names = [("uniform", 1, False)]
        names = [(f"forward_{r}", r, False) for r in reversed(RATIOS)] + names
        names += [(f"backward_{r}", r, True) for r in RATIOS]
        for name, ratio, backward in names:
            wanted = long_tailed_counts(self.counts, ratio, int(of_class.max()), backward=backward)
            self._add_test_set(table, f"test/{name}", wanted, of_class, estimates)

    def _add_test_set(
        self, table: ScoreTable, row: str, wanted: Tensor, of_class: Tensor, estimates: bool
    ) -> None:
        """Adds the accuracies on a test set with `wanted` rows of each class [C]."""
        weights = (wanted / of_class.clamp_min(1).double())[self.labels]
        # 1e-300: a class without rows is never predicted, and its log likelihood is finite
        true = torch.where(of_class > 0, wanted, 0).double().clamp_min(1e-300)
        log_true = (true / true.sum()).log()
        offsets = {"true_prior": log_true - self.log_prior}
        if self.removed is None:
            offsets["true_prior_if_removed"] = log_true
        if estimates:
            prior = estimated_prior(self.logits, self.log_prior, weights, _SMALLEST_CHANGE)
            offsets["estimated_prior"] = prior.clamp_min(1e-300).log() - self.log_prior
        found = {"plain": self.plain, "uniform_prior": self.uniform}
        found |= {name: self.predicted(offset) for name, offset in offsets.items()}
        kept, own = first_rows(self.labels, wanted), self.labels
        right = {name: (one.guess == own).double() for name, one in found.items()}
        table.rows[row] = {name: weighted_share(one, weights) for name, one in right.items()}
        table.rows[row] |= {
            f"{name}_first_rows": float(one[kept].mean()) if len(kept) else float("nan")
            for name, one in right.items()
        }
        table.rows[row]["nll_true_prior"] = float(
            -(found["true_prior"].log_p * weights).sum() / weights.sum()
        )
        for name, one in right.items():
            table.weighted[f"{row}/{name}"] = self._weighted(one, weights)
            first = torch.full_like(one, torch.nan)
            first[kept] = one[kept]
            table.drawn[f"{row}/{name}_first_rows"] = weighted_mean(self._every(first))
        losses = -found["true_prior"].log_p
        table.drawn[f"{row}/nll_true_prior"] = self._weighted(losses, weights)

    def _weighted(self, values: Tensor, weights: Tensor) -> WeightedScore:
        return weighted_mean(self._every(values), self._every(weights).nan_to_num())

    def _describe(self, table: ScoreTable) -> None:
        table.about["prior_removed"] = self.removed
        without = int((self.counts == 0).sum())
        if without:
            table.notes.append(
                f"{without:,} classes have no training images: they count as frequent as the "
                "smallest class that has some"
            )
        if not self.context.evaluated.long_tailed:
            table.notes.append(
                "the largest training class has less than twice the images of the smallest: there "
                "is hardly a prior to take out"
            )
        if self.removed is None:
            table.notes.append(
                "the file does not say whether training took the class frequencies out of the "
                "logits (prior_removed): if it did, tau 0 is right and tau 1 takes them out twice"
            )
        table.about["true_prior"] = "uses the class frequencies of the test set, which nobody knows"
