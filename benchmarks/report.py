"""Results as JSON and Markdown, and the table of goals with our figure in every row."""

import json
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS, REASONS, TARGETS
from benchmarks.results import Entry

VERSIONS = ("python", "torch", "numpy", "numba", "scipy", "faiss-cpu", "scikit-learn",
            "pytorch-metric-learning", "torchmetrics", "triton")  # fmt: skip
WORST_FIRST = ("missed", "not measurable", "smoke", "met", "stretch")
MARKS = {"missed": "**missed**", "stretch": "stretch met"}


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    if value is None:
        return "-"
    if value == float("inf"):
        return "does not run"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def row(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "/").replace("\n", " ") for c in cells) + " |"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def write_family(folder: Path, family: str, entries: list[Entry], facts: dict[str, Any]) -> Path:
    """`<family>.json` and `<family>.md` in the folder; returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"family": family} | facts | {"entries": [e.as_dict() for e in entries]}
    path = folder / f"{family}.json"
    _write(path, json.dumps(record, indent=1, default=str))
    _write(folder / f"{family}.md", family_page(record))
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text if text.endswith("\n") else text + "\n")
    part.replace(path)


def family_page(record: dict[str, Any]) -> str:
    """One family: machine, then every entry with figures, ratios, checks and notes."""
    setting = record["setting"]
    lines = [f"# {record['family']}", "", machine_line(record["machine"]), "",
             f"Up to {setting['rounds']} rounds, peers interleaved in one process; ratios are "
             "medians of per-round ratios, above 1 where ours is faster.", ""]  # fmt: skip
    for entry in record["entries"]:
        lines += [f"## {entry['name']}", "", entry["workload"], ""]
        lines += [_figures(entry["figures"]), ""] if entry["figures"] else []
        if entry["ratios"]:
            rows = [[name, number(r["median"]), " - ".join(map(number, r["quartiles"])),
                     str(r["rounds"])] for name, r in entry["ratios"].items()]  # fmt: skip
            lines += [table(["ratio of times", "median", "quartiles", "rounds"], rows), ""]
        lines += [f"- {check_text(c)}" for c in entry["checks"]]
        lines += [f"- {note}" for note in entry["notes"]] + [""]
    return "\n".join(lines)


def _figures(figures: dict[str, dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for f in figures.values() for key in f))
    rows = [[name, *(_cell(f.get(c)) for c in columns)] for name, f in figures.items()]
    return table(["case", *(c.replace("_", " ") for c in columns)], rows)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        if isinstance(value, list):
            return ", ".join(map(_cell, value)) or "none"
        return "" if value is None else str(value)
    return number(value)


def check_text(check: dict[str, Any]) -> str:
    """Key, verdict, and why: "P2 MNIST: met (5.3x ≥ 5x; stretch ≥ 7x)"."""
    target = TARGETS[check["key"]]
    verdict = MARKS.get(check["verdict"], check["verdict"])
    if check["value"] is None:
        return f"{check['key']}: {verdict} ({check['why']}; must {target.text(target.must)})"
    holds = target.verdict(check["value"])
    reached = target.stretch if holds == "stretch" else target.must
    against = target.text(reached)
    if holds == "missed":
        against = against.translate(str.maketrans("≥≤", "<>"))
    text = f"{number(check['value'])}{target.unit} {against}"
    if target.stretch is not None and holds != "stretch":
        text += f"; stretch {target.text(target.stretch)}"
    return f"{check['key']}: {verdict} ({text})"


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in one sentence."""
    parts = [f"{machine['cores']} x {machine['cpu']} ({machine['vector_units']})",
             f"{machine['memory_gb']} GB", f"threads {machine['threads']}",
             *(f"{name} {machine[name]}" for name in VERSIONS
               if machine.get(name, "not installed") != "not installed"),
             f"load at start {machine['load_at_start'][0]}", str(machine["date"])]  # fmt: skip
    return ", ".join(([machine["gpu"]] if "gpu" in machine else []) + parts)


def records(folder: Path) -> list[dict[str, Any]]:
    """What the families have left in the folder, gpu aside."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
    return [r for r in found if r["family"] != "gpu"]


def goal_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """One row per goal: our figures and the worst verdict; "not measured" where no family ran."""
    checks = [c for r in found for e in r["entries"] for c in e["checks"]]
    rows = []
    for goal in GOALS:
        own = [c for c in checks if c["key"].split()[0] == goal.id]
        verdict = min((c["verdict"] for c in own), key=WORST_FIRST.index, default="not measured")
        figures = "; ".join(check_text(c).removeprefix(goal.id).lstrip(": ") for c in own) or "-"
        rows.append([goal.id, goal.workload, goal.peer, goal.must, goal.stretch, figures,
                     MARKS.get(verdict, verdict)])  # fmt: skip
    return rows


def write_readme(folder: Path) -> None:
    """README.md of the results, from all the JSON files there; the scaling plot beside it."""
    found = records(folder)
    head = ["id", "workload", "peer", "must", "stretch", "ours", "row"]
    lines = ["# Results", "",
             "Written by `python -m benchmarks`. \"2021\" is the algorithm of 2021 "
             "written afresh in `benchmarks/reference_2021.py`, its sampler repaired. Every ratio "
             "is the median of per-round ratios of two functions called in turn in one process on "
             "one thread. Peak memory is that of one call in a process of its own. A row shows its "
             "worst verdict; missed rows stay.", "", table(head, goal_rows(found)), ""]  # fmt: skip
    lines += _reasons(found) + _slopes(found, folder) + _throughput(found)
    lines += ["## Measured on", ""]
    lines += [f"- [{r['family']}]({r['family']}.md): {machine_line(r['machine'])}; "
              f"{r['seconds']:.0f} s" for r in found]  # fmt: skip
    lines += ["", "GPU: " + ("[gpu.md](gpu.md)" if (folder / "gpu.md").exists() else
              "not measured; `python -m benchmarks gpu --device cuda` is ready.")]  # fmt: skip
    _write(folder / "README.md", "\n".join(lines))


def _reasons(found: list[dict[str, Any]]) -> list[str]:
    missed = [cells[0] for cells in goal_rows(found) if cells[-1] == MARKS["missed"]]
    lines = [f"- {goal}: {REASONS[goal]}" for goal in missed if goal in REASONS]
    return ["## Why rows are missed", "", *lines, ""] if lines else []


def _entries(found: list[dict[str, Any]], family: str) -> list[dict[str, Any]]:
    return [e for r in found if r["family"] == family for e in r["entries"]]


def _slopes(found: list[dict[str, Any]], folder: Path) -> list[str]:
    entries = _entries(found, "scaling")
    if not any(e["figures"] for e in entries):
        return []
    from benchmarks.scaling import plot

    plot(entries, folder / "scaling.png")
    rows = [[curve, number(d["slope"]), number(d["allowed"]),
             f"{number(min(d['x']))} to {number(max(d['x']))}" if d["x"] else "-",
             MARKS.get(d["verdict"], d["verdict"])]
            for e in entries for curve, d in e["figures"].items()]  # fmt: skip
    notes = [f"- {note}" for e in entries for note in e["notes"]]
    notes += [f"- {row[0]}: {REASONS[row[0]]}" for row in rows
              if row[-1] == MARKS["missed"] and row[0] in REASONS]  # fmt: skip
    head = ["curve", "log-log slope", "allowed", "range", ""]
    return ["## Scaling laws", "", table(head, rows), "", *notes, "", "![](scaling.png)", ""]


def _throughput(found: list[dict[str, Any]]) -> list[str]:
    entries = _entries(found, "training")
    if not entries:
        return []
    rows = [[e["name"].removeprefix("training "), who.removeprefix("ours "),
             number(f.get("images_per_second")), number(f.get("gain_over_plain")),
             f.get("failure", "")] for e in entries for who, f in e["figures"].items()]  # fmt: skip
    head = ["net", "switch", "images/s", "gain", ""]
    notes = [f"- {note}" for entry in entries for note in entry["notes"]]
    return ["## Training throughput", "", table(head, rows), "", *notes, ""]
