"""A recipe's runs beside its published figures, as lines of text and as JSON values."""

from dataclasses import dataclass
from typing import Any

from vmf_embeddings.evaluation.comparison import Side
from vmf_embeddings.evaluation.published import PUBLISHED, Published, published
from vmf_embeddings.evaluation.row_scores import UNITS
from vmf_embeddings.evaluation.settings import overrides_of
from vmf_embeddings.evaluation.significance import default_unit, mean_interval
from vmf_embeddings.evaluation.significance_lines import ScoreText, aligned, number, span
from vmf_embeddings.metrics.t_tests import t_interval
from vmf_embeddings.untrusted.text import printable

# sections in which a published score is looked for, in this order
_SECTIONS = ("classification", "shots", "retrieval", "normalised", "sampled_retrieval")
_METRICS = {"nmi": "nmi", "map_at_1000_reference": "map"}  # words of `--metrics` that add scores
# overrides that say where and how a run worked, not what it learned
_PLACES = ("name=", "random_seed=", "dataset.params.dataset_path=", "trainer.", "num_workers=",
           "resume=", "hydra", "logger", "run=", "dataset.params.download=")  # fmt: skip


@dataclass(frozen=True)
class BesidePublished:
    """One score of a recipe's runs beside the published one, as fractions.

    Args:
        key: `section/name`; None where the runs lack the score.
        name: of the score.
        ours: mean over runs, or None.
        over: what the interval is over: "seeds" of several runs, else "classes" or "rows".
        ends: the interval of 95 %.
        theirs: the published score.
        spread: what stands after its +/-; None without.
    """

    key: str | None
    name: str
    ours: float | None
    over: str
    ends: tuple[float, float]
    theirs: float
    spread: float | None

    @property
    def verdict(self) -> str:
        """Where the published score lies."""
        low, high = self.ends
        if self.ours is None or not low <= high:
            return "unknown"
        if low <= self.theirs <= high:
            return "theirs is inside our interval"
        return f"theirs is {'above' if self.theirs > high else 'below'} our interval"


def recipe_of(side: Side) -> tuple[str | None, list[str]]:
    """The recipe that a run was started from, None without one; and what was typed besides.

    Overrides that say where and how the run worked are left out.
    """
    typed = overrides_of(side.file.path.parent)
    names = [word.partition("=")[2] for word in typed if word.lstrip("+").startswith("experiment=")]
    recipe = names[-1] if names and names[-1] != "null" else None
    changed = [word for word in typed if not word.lstrip("+").startswith(("experiment=", *_PLACES))]
    return recipe, changed


def beside(side: Side, figures: Published) -> list[BesidePublished]:
    """The scores of a recipe's runs beside its published ones."""
    found = []
    for name, theirs in figures.scores.items():
        spread = figures.spread.get(name)
        key = _key(side, name)
        ours, over, ends = (None, "-", (float("nan"),) * 2) if key is None else _own(side, key)
        found.append(
            BesidePublished(key, name, ours, over, ends, theirs / 100,
                            None if spread is None else spread / 100)
        )  # fmt: skip
    return found


def published_lines(side: Side, score_text: ScoreText) -> list[str]:
    """The runs of a recipe beside its published figures, or why there are none."""
    recipe, changed = recipe_of(side)
    figures = None if recipe is None else published(recipe, side.file.settings)
    if recipe is None or figures is None:
        return ["", *_why_none(recipe)]
    scores = beside(side, figures)
    lines = [
        "",
        f"Beside the published figures of experiment={printable(recipe)} ({figures.source})",
        *aligned([["score", "ours", "interval", "over other", "theirs", "ours - theirs", ""],
                  *(_line(one, score_text) for one in scores)]),
        *(f"  {line}" for line in _about(side, figures, scores)),
    ]  # fmt: skip
    if changed:
        lines.append(f"  Changed from the recipe: {printable(', '.join(changed))}")
    return lines


def describe_published(side: Side) -> dict[str, Any]:
    """The same as JSON values."""
    recipe, changed = recipe_of(side)
    figures = None if recipe is None else published(recipe, side.file.settings)
    if figures is None:
        return {"recipe": recipe, "changed": changed, "published": None}
    scores = {
        one.name: {
            "ours": one.ours, "over": one.over, "low": one.ends[0], "high": one.ends[1],
            "published": one.theirs, "spread": one.spread, "verdict": one.verdict,
        }
        for one in beside(side, figures)
    }  # fmt: skip
    about = {"source": figures.source, "chosen_on_test": figures.chosen_on_test}
    return {"recipe": recipe, "changed": changed, "published": {**about, "scores": scores}}


def _key(side: Side, name: str) -> str | None:
    sections = side.group.sections()
    return next((f"{s}/{name}" for s in _SECTIONS if name in sections.get(s, [])), None)


def _own(side: Side, key: str) -> tuple[float, str, tuple[float, float]]:
    """Mean over runs, what its interval is over, and its ends."""
    found = t_interval(side.values(key))
    if len(side.group.files) > 1:
        return found.mean, "seeds", (found.low, found.high)
    intervals = [scores.intervals.get(key, {}) for scores in side.group.scores]
    unit = default_unit(side.file)
    if not all(set(UNITS) <= own.keys() for own in intervals):
        return found.mean, "-", (float("nan"), float("nan"))
    return found.mean, unit, mean_interval(intervals, unit)


def _line(one: BesidePublished, score_text: ScoreText) -> list[str]:
    section = "normalised" if one.key is None else one.key.partition("/")[0]
    label, scale, digits = score_text(section, one.name)
    theirs = number(one.theirs, scale, digits)
    if one.spread is not None:
        theirs += f" ± {number(one.spread, scale, digits)}"
    if one.ours is None:
        return [label, "-", "-", "-", theirs, "-", "not scored"]
    change = f"{scale * (one.ours - one.theirs):+z.{digits}f}"
    ours = number(one.ours, scale, digits)
    return [label, ours, span(one.ends, scale, digits), one.over, theirs, change, one.verdict]


def _about(side: Side, figures: Published, scores: list[BesidePublished]) -> list[str]:
    lines = []
    first = scores[0]
    if figures.tolerance is not None and first.ours is not None:
        below = 100 * (first.theirs - first.ours)
        word = "within" if below <= figures.tolerance else "beyond"
        lines.append(
            f"{first.name} is {abs(below):.2f} points {'below' if below > 0 else 'above'} theirs, "
            f"{word} the {figures.tolerance:g} below that the recipe accepts."
        )
    missing = [one.name for one in scores if one.ours is None]
    lacking = sorted({_METRICS[name] for name in missing if name in _METRICS})
    if lacking:
        lines.append(f"What is not scored comes with --metrics {' '.join(lacking)}.")
    own = side.file.selected_on
    if figures.chosen_on_test and own != side.file.split:
        lines.append(
            f"Their epoch was chosen on the test split, which favours it; this one on {own}."
        )
    return lines


def _why_none(recipe: str | None) -> list[str]:
    """Why there is no figure to compare with, and for which settings there are some."""
    if recipe is None:
        return [
            "No published figure: the run records no recipe (experiment=NAME) that it was started "
            "from. Name a second run to compare the two."
        ]
    known = [
        ", ".join(f"{key}={value}" for key, value in one.when.items())
        for one in PUBLISHED.get(recipe, ())
    ]
    named = f"experiment={printable(recipe)}"
    if known:
        return [f"No figure of {named} is published for these settings; there are some for: "
                f"{'; '.join(known)}."]  # fmt: skip
    return [f"No published figure of {named} is known. Name a second run to compare the two."]
