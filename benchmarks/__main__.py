"""`python -m benchmarks [family ..]`: measure, write JSON and Markdown, renew the goals' table."""

import argparse
import gc
import importlib
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FAMILIES = ("accuracy", "loss", "directional_losses", "variance", "memory", "heads", "sampler",
            "prediction", "evaluation", "hyperbolic", "batches", "data", "latency", "scaling",
            "training", "objectives", "features", "extraction", "start", "threads",
            "sections")  # fmt: skip
RESULTS = Path(__file__).resolve().parent / "results"


def arguments(typed: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, "gpu", []],
                        metavar="family",
                        help=f"some of {', '.join(FAMILIES)}, gpu; default: all")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of every case")
    parser.add_argument("--warmup", type=int, default=1, help="untimed calls before that")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where there is one")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--out", type=Path, default=None, help=f"folder of results; {RESULTS}")
    parser.add_argument("--limit-s", type=float, default=240.0,
                        help="after three rounds, begin no further one past this many seconds of "
                        "one comparison")  # fmt: skip
    return parser.parse_args(typed)


def run_family(family: str, setting, folder: Path) -> bool:
    """Measure one family and write its files; a failure is printed and the others go on."""
    from benchmarks import machine, report

    if family == "gpu":
        if setting.device == "cpu" and not setting.smoke:
            return _without_gpu(folder)
        folder = folder if setting.smoke else folder.parent  # beside the processor's results
    facts = {"machine": machine.describe(setting.device), "setting": asdict(setting)}
    print(f"{family} ...", flush=True)
    began = time.perf_counter()
    try:
        entries = importlib.import_module(f"benchmarks.{family}").main(setting)
    except Exception:
        traceback.print_exc()
        return False
    finally:
        gc.collect()
    facts["seconds"] = time.perf_counter() - began
    path = report.write_family(folder, family, entries, facts)
    print(f"{family}: {facts['seconds']:.0f} s -> {path}", flush=True)
    for entry in entries:
        for check in entry.as_dict()["checks"]:
            print("  ", report.check_text(check), flush=True)
    return True


def _without_gpu(folder: Path) -> bool:
    """Say that the command is ready; figures of an earlier run on a GPU stay."""
    text = (
        "Not measured: no GPU was at hand when these results were written. On a machine with one, "
        "`python -m benchmarks gpu --device cuda` writes the figures here: the vMF step beside "
        "2021's, its compiled formula and a plain linear cross-entropy of the same size (torch's, "
        "and cut-cross-entropy's and Liger's where they are installed), draws, retrieval, loops, "
        "each with its share of what the device does at best."
    )
    page = folder / "gpu.md"
    if not page.exists():
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(f"# GPU\n\n{text}\n")
    print(f"gpu: {text}")
    return True


def main(typed: list[str] | None = None) -> int:
    """Returns the number of families that failed."""
    options = arguments(typed)
    for name in THREADS:  # before torch and numpy are imported, here and in child processes
        os.environ.setdefault(name, "1")
    import torch

    from benchmarks import report
    from benchmarks.results import Setting

    torch.set_num_threads(1)
    gc.freeze()  # what the imports made stays: collecting between rounds is cheap then
    gpu = options.device.startswith("cuda")
    if gpu and not torch.cuda.is_available():
        print(f"--device {options.device}: torch sees no GPU here; the same command is ready for "
              "a machine that has one.", file=sys.stderr)  # fmt: skip
        return 1
    if options.out is None and options.smoke:
        print("--smoke needs --out FOLDER: tiny sizes do not belong among results", file=sys.stderr)
        return 1
    folder = (options.out or RESULTS) / ("cuda" if gpu else "")
    setting = Setting(
        options.rounds, options.warmup, options.smoke, options.device, options.limit_s
    )
    chosen = options.families or [*FAMILIES, "gpu"]
    failed = [family for family in chosen if not run_family(family, setting, folder)]
    report.write_readme(folder)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
