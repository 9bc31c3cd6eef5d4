"""Which temperature to distil with, from a teacher's virtual examples alone.

The rule of He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042: the temperature at which the few-shot classes have a little more
virtual examples each than the many-shot ones; then half of it with a power of 0.5, which flattens
the teacher alike and leaves the student the lower temperature.
"""

from dataclasses import dataclass

from torch import Tensor

from vmf_embeddings.virtual_distribution.distribution import Groups, Softening


@dataclass(frozen=True)
class Suggestion:
    """What the rule says.

    Args:
        temperature: tau / p at which the rarest group overtakes; None where it never does.
        words: for the reader, whole sentences.
    """

    temperature: float | None
    words: str


def suggest(groups: Groups, measured: dict[Softening, Tensor]) -> Suggestion:
    """The flattening to distil with.

    Args:
        groups: of the classes.
        measured: virtual examples [C] at several softenings.
    """
    names = list(groups.sizes())
    if len(names) < 2:
        return Suggestion(
            None,
            f"All classes are {names[0]}-shot ones, so there is nothing to balance: other groups "
            "by mode.many_above=N mode.few_below=N.",
        )
    often, rarely = names[0], names[-1]
    by_flatness = sorted(measured, key=lambda each: each.effective)
    overtaken = [
        each.effective
        for each in by_flatness
        if groups.means(measured[each])[rarely] > groups.means(measured[each])[often]
    ]
    if not overtaken:
        return Suggestion(
            None,
            f"Up to tau={by_flatness[-1].effective:g} the {rarely}-shot classes have no more "
            f"virtual examples each than the {often}-shot ones. Try larger mode.temperatures; a "
            "teacher that leans to the frequent classes at any temperature is no good one, train "
            "it with loss=balanced_softmax.",
        )
    tau = overtaken[0]
    return Suggestion(tau, _words(tau, tau == by_flatness[0].effective, often, rarely))


def _words(tau: float, is_first: bool, often: str, rarely: str) -> str:
    known = (
        f"Already at tau={tau:g}, the smallest that was looked at,"
        if is_first
        else f"From tau={tau:g} on, of those that were looked at,"
    )
    return (
        f"{known} the {rarely}-shot classes have more virtual examples each than the {often}-shot "
        f"ones. The paper's rule: half of it and a power, method.params.temperature={tau / 2:g} "
        f"method.params.power=0.5; or without a power, method.params.temperature={tau:g} "
        "method.params.power=1."
    )
