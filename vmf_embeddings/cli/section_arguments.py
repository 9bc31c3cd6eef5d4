"""Arguments of the sections of `evaluate` that read further files. Imports nothing slow."""

import argparse
from pathlib import Path

from vmf_embeddings.evaluation.options import SECTIONS


def add_sections(parser: argparse.ArgumentParser) -> None:
    """Adds them to the parser of `evaluate`, in a group of its help."""
    add = parser.add_argument_group("further files (docs/metrics.md)").add_argument
    add("--ood", nargs="+", type=Path, default=[], metavar="FILE",
        help="embeddings of other data by the same run, or their name in each run's folder: how "
        "well they are told from the scored rows (metrics=ood)")  # fmt: skip
    add("--corrupted", type=Path, metavar="FILE",
        help="embeddings of the scored images at rising strengths of corruption, from "
        "mode=corrupt: how confidences fall (metrics=corruption; the file beside)")  # fmt: skip
    add("--fit-on", type=_fit_on, default="valid", metavar="FILE",
        help="metrics=calibration, prior: rows on which they are fitted, valid or train for the "
        "file of that split beside, or a file (valid)")  # fmt: skip
    add("--train", type=Path, metavar="FILE",
        help="--ood: embeddings of training rows with labels (the training file "
        "beside)")  # fmt: skip


def _fit_on(word: str) -> str | Path:
    return word if word in ("valid", "train") else Path(word)


def of_sections(values: dict[str, object], sections: tuple[str, ...]) -> dict[str, object]:
    """The fields of `EvaluationOptions` from parsed values and the sections that were named."""
    ood = tuple((None, path) for path in values["ood"])  # type: ignore[attr-defined]
    given = {"ood": ood, "verification": values["pairs"], "merged": values["merge"]}
    given["corruption"] = values["corrupted"]
    asked = {*sections, *(name for name, value in given.items() if value)}
    return {"ood": ood, "sections": tuple(name for name in SECTIONS if name in asked)}


def unread(options: dict[str, object]) -> str | None:
    """What is wrong with a file that was named and that no section reads; None where nothing is."""
    sections = set(options["sections"])  # type: ignore[call-overload]
    if options["fit_on"] != "valid" and not sections & {"calibration", "prior"}:
        return "--fit-on is read by metrics=[calibration] and metrics=[prior]: ask for one of them"
    if options["train"] is not None and "ood" not in sections:
        return "--train is read by --ood FILE, which is not given"
    return None
