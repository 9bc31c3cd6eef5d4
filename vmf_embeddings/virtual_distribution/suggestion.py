"""Suggests the temperature of a distillation from the teacher's virtual examples.

The rule of He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042: the temperature at which few-shot classes have slightly more
virtual examples per class than many-shot ones; then half of it with a power of 0.5, which gives the
same soft labels of the teacher and a lower temperature for the student.
"""

from dataclasses import dataclass

from torch import Tensor

from vmf_embeddings.virtual_distribution.distribution import Groups, Softening


@dataclass(frozen=True)
class Suggestion:
    """Result of the rule.

    Args:
        temperature: smallest tau / p at which the rarest group has more virtual examples per class
            than the most frequent one; None if there is none.
        words: explanation in whole sentences.
    """

    temperature: float | None
    words: str


def suggest(groups: Groups, measured: dict[Softening, Tensor]) -> Suggestion:
    """Applies the rule.

    Args:
        groups: groups of classes.
        measured: virtual examples [C] at several softenings.
    """
    names = list(groups.sizes())
    if len(names) < 2:
        return Suggestion(
            None,
            f"All classes are {names[0]}-shot, so there is nothing to balance; define other groups "
            "with mode.many_above=N mode.few_below=N.",
        )
    frequent, rare = names[0], names[-1]
    by_temperature = sorted(measured, key=lambda each: each.effective)
    overtaken = [
        each.effective
        for each in by_temperature
        if groups.means(measured[each])[rare] > groups.means(measured[each])[frequent]
    ]
    if not overtaken:
        return Suggestion(
            None,
            f"Up to tau={by_temperature[-1].effective:g} the {rare}-shot classes have no more "
            f"virtual examples per class than the {frequent}-shot ones. Try larger "
            "mode.temperatures. If the teacher favours frequent classes at any temperature, train "
            "it with loss=balanced_softmax.",
        )
    tau = overtaken[0]
    return Suggestion(tau, _words(tau, tau == by_temperature[0].effective, frequent, rare))


def _words(tau: float, is_first: bool, frequent: str, rare: str) -> str:
    known = (
        f"Already at tau={tau:g}, the smallest one measured,"
        if is_first
        else f"From tau={tau:g} on, of those measured,"
    )
    return (
        f"{known} the {rare}-shot classes have more virtual examples per class than the "
        f"{frequent}-shot ones. The paper's rule: half of it and a power, "
        f"method.params.temperature={tau / 2:g} method.params.power=0.5; or "
        f"without a power, method.params.temperature={tau:g} method.params.power=1."
    )
