"""Counts the training steps of `steps.py` on an emulated CUDA device; prints them as JSON.

    python -m tests.device.measure [--only WORD] [--verbose]
    python -m tests.device.measure --renew      # writes budgets.json

Renew the budgets after a change that launches fewer kernels, or more with good reason, and say in
the commit message which. In a process of its own: the guard must be loaded before torch.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

from tests.device import guard

BUDGETS = Path(__file__).with_name("budgets.json")


def measured(only: str = "", *, verbose: bool = False) -> dict[str, dict]:
    """Counts of every step whose name contains `only`; `mismatch` where CUDA would refuse it."""
    from tests.device.emulator import DeviceMismatch, emulated
    from tests.device.steps import trials

    found = {}
    for name, trial in trials().items():
        if only not in name:
            continue
        with emulated() as recorder:
            mismatch = None
            try:
                trial(recorder)
            except DeviceMismatch as error:
                mismatch = str(error)
        found[name] = recorder.counts.as_dict() | {"mismatch": mismatch}
        if verbose:
            _show(name, found[name], recorder.counts.launches)
    return found


def checked() -> dict[str, list[str]]:
    """What the emulator gets wrong, and what is not equal to the CPU."""
    from tests.device.equality import differences
    from tests.device.selftest import wrongs

    return {"wrong": list(wrongs()), "different": list(differences())}


def _show(name: str, counts: dict, launches: dict[str, int]) -> None:
    print(name, counts["ops"], "launches", file=sys.stderr)
    for place, n in sorted(launches.items(), key=lambda item: -item[1]):
        print(f"{n:6d} {place}", file=sys.stderr)
    for kind in ("waits", "copies"):
        for place, n in counts[kind].items():
            print(f"{n:6d} {kind}: {place}", file=sys.stderr)


def renew(counts: dict[str, dict], torch_version: str) -> None:
    """Writes the launches of every step as the new budgets."""
    budgets = {"torch": torch_version, "ops": {name: c["ops"] for name, c in counts.items()}}
    part = BUDGETS.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(budgets, indent=1) + "\n")
    part.replace(BUDGETS)


def main() -> None:
    """Prints the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="steps whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="launches by place, on stderr")
    parser.add_argument("--renew", action="store_true", help="write budgets.json")
    arguments = parser.parse_args()
    if arguments.renew and arguments.only:
        parser.error("--renew counts all steps: leave --only out")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    guard.load()
    import torch

    torch.set_num_threads(1)
    counts = measured(arguments.only, verbose=arguments.verbose)
    if arguments.renew:
        renew(counts, torch.__version__)
    print(json.dumps({"steps": counts} | ({} if arguments.only else checked())))


if __name__ == "__main__":
    main()
