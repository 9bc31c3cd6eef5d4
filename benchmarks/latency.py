"""How long the command line takes to answer (I1), and what it imports for that."""

import os
import subprocess
import sys

from benchmarks.measure import ROOT, compare
from benchmarks.results import Entry, Setting

MAIN = ("-m", "vmf_embeddings.main")
COMMANDS = {
    "bare python": ("-c", "pass"),
    "import": ("-c", "import vmf_embeddings"),
    "help": (*MAIN, "--help"),
    "hydra's help": (*MAIN, "--hydra-help"),
    "rejected override": (*MAIN, "dataset=no_such"),
    "completion": (*MAIN, "-sc", "query=bash"),
}
HEAVY = ("torch", "sklearn", "scipy", "faiss", "pandas", "matplotlib", "torchvision", "accelerate")


def call(arguments: tuple[str, ...]) -> subprocess.CompletedProcess:
    """A fresh interpreter; completion finds its line in the environment."""
    line = "vmf_embeddings dataset=mn"
    environment = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def imported(arguments: tuple[str, ...], packages: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the packages a command imports, from the interpreter's own import times."""
    lines = call(("-X", "importtime", *arguments)).stderr.splitlines()
    names = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    return [name for name in packages if name in names]


def main(setting: Setting) -> list[Entry]:
    """Wall time of each command beside the bare interpreter's."""
    entry = Entry("latency", "a fresh interpreter per call, files in the page cache")
    chosen = dict(list(COMMANDS.items())[: setting.size(len(COMMANDS), 2)])
    cases = {name: lambda a=arguments: call(a) for name, arguments in chosen.items()}
    result = compare(cases, setting.rounds, setting.warmup)
    entry.figures.update(result.as_dict())
    heavy: set[str] = set()
    for name, arguments in chosen.items():
        entry.figures[name]["imports"] = imported(arguments)
        heavy |= set(entry.figures[name]["imports"])
    bare = result.median("bare python")
    entry.check(setting, "I1 import", result.median("import") - bare)
    help_time = result.median("help") - bare if "help" in chosen else None
    entry.check(setting, "I1 help", help_time, "not run in a smoke run")
    entry.check(setting, "I1 modules", float(len(heavy)))
    return [entry]
