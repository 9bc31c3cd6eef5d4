"""What a family reports: entries with figures, checks against the goals, notes."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.goals import TARGETS
from benchmarks.measure import SHORTEST, Case, Comparison, Peak, Ratio, compare, peak_memory


class NotAvailable(Exception):
    """A peer that is not installed, or a function that this project does not have yet."""


@dataclass(frozen=True)
class Setting:
    """How to run: rounds, tiny sizes or real ones, where."""

    rounds: int = 7
    warmup: int = 1
    smoke: bool = False
    device: str = "cpu"
    limit_s: float = 240.0

    @property
    def shortest(self) -> float:
        """Calls shorter than this many seconds are repeated when timed."""
        return 0.0 if self.smoke else SHORTEST

    def size(self, real: Any, tiny: Any) -> Any:
        """`tiny` in a smoke run, otherwise `real`."""
        return tiny if self.smoke else real


@dataclass(frozen=True)
class Check:
    """One figure held against `goals.TARGETS[key]`; verdict "smoke" where sizes were tiny."""

    key: str
    value: float | None
    verdict: str
    why: str = ""


@dataclass
class Entry:
    """One workload: figures of every case, ratios to ours, checks, notes."""

    name: str
    workload: str
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, setting: Setting, key: str, value: float | Ratio | None, why: str = "") -> None:
        """Holds a figure against its target; None is "not measurable", for the reason given."""
        number = value.median if isinstance(value, Ratio) else value
        verdict = TARGETS[key].verdict(number)
        if setting.smoke and number is not None:
            verdict = "smoke"
        self.checks.append(Check(key, number, verdict, why if number is None else ""))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Maker = Any  # a function that returns a Case, or raises NotAvailable


def made(makers: dict[str, Maker]) -> tuple[dict[str, Case], dict[str, str]]:
    """The cases that can be made, and why the others cannot."""
    cases, missing = {}, {}
    for name, make in makers.items():
        try:
            cases[name] = make()
        except NotAvailable as reason:
            missing[name] = str(reason)
    return cases, missing


def versus(
    entry: Entry,
    setting: Setting,
    makers: dict[str, Maker],
    *,
    units: dict[str, float] | None = None,
    scale: dict[str, float] | None = None,
) -> Comparison:
    """Times the cases side by side and notes medians and, for each "ours", the peers' ratios.

    Args:
        entry: where figures go; ratios are named "peer / ours".
        setting: rounds, sizes, device.
        makers: name -> function that prepares a case. Names that begin with "ours" are ours.
        units: units of work per call.
        scale: name -> factor for a case that did part of the work only (as in "6,144 of 60,502").
    """
    print(f"  {entry.name}: {len(makers)} cases", flush=True)
    cases, missing = made(makers)
    per_call = {name: 1 / factor for name, factor in (scale or {}).items()} | (units or {})
    result = compare(
        cases, setting.rounds, setting.warmup, units=per_call, device=setting.device,
        limit_s=setting.limit_s, shortest=setting.shortest,
    )  # fmt: skip
    entry.figures.update(result.as_dict())
    entry.figures.update({name: {"failure": reason} for name, reason in missing.items()})
    for ours in [n for n in cases if n.startswith("ours")]:
        for peer in [n for n in cases if n != ours]:
            ratio = result.ratio(peer, ours)
            if ratio is not None:
                entry.ratios[f"{peer} / {ours}"] = ratio
    return result


def why_not(entry: Entry, *names: str) -> str:
    """The failures noted for these cases, as one reason."""
    reasons = [f"{n}: {entry.figures.get(n, {}).get('failure')}" for n in names]
    return "; ".join(r for r in reasons if not r.endswith(": None"))


def peaks(
    entry: Entry,
    setting: Setting,
    module: str,
    function: str,
    cases: dict[str, dict[str, Any]],
    warm: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Peak]:
    """Peak memory of each case in its own process; noted in the entry as "peak_mb".

    Args:
        entry: where figures go.
        setting: on a GPU memory is not measured here.
        module: the module below `benchmarks`.
        function: prepares the case.
        cases: name -> arguments.
        warm: changes to the arguments that make a small first call.
        options: passed on to `peak_memory`.
    """
    found = {}
    for name, case in cases.items():
        small = None if warm is None else case | warm
        found[name] = peak_memory(f"benchmarks.{module}", function, case, warm=small, **options)
        figure = entry.figures.setdefault(name, {})
        if found[name].failure is not None:
            # a message of our own class is an absence, not an accident
            figure["memory_failure"] = re.sub(r"^.*NotAvailable: ", "", found[name].failure)
        else:
            figure["peak_mb"] = found[name].extra_mb
    return found


def quotient(upper: Peak, lower: Peak) -> float | None:
    """Memory of one over memory of another; None where either is missing or below 0.1 MB."""
    if upper.extra_mb is None or not lower.extra_mb or lower.extra_mb < 0.1:
        return None
    return max(upper.extra_mb, 0.1) / lower.extra_mb
