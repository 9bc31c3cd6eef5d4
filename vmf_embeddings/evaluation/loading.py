"""Reads an embedding file to score, and determines how its rows are compared."""

import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.embeddings import EmbeddingFile, Found, read_with_notes
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import GEOMETRIES, EvaluationOptions
from vmf_embeddings.evaluation.settings import settings_of
from vmf_embeddings.geometry import Geometry, alternatives, from_meta
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.text import printable

_CURVED = ("poincare", "poincare-reference")
_OF_DRAWS = ("vmf", "expected_likelihood")  # of 2021's methods with logits of draws
_LOG_OF_2021 = "main.train.log"
_VMF_SCRIPT = "vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics"
_DETERMINISTIC_SCRIPT = _VMF_SCRIPT.replace("compute_vmf", "compute_deterministic")
_LONGEST_LOG = 64 * 2**20  # bytes
# one line of yaml, or a dict printed on one line
_CURVATURE = re.compile(
    r"^[ \t]*c:[ \t]*([0-9.eE+-]{1,40})[ \t\r]*$|'c':[ \t]*([0-9.eE+-]{1,40})", re.MULTILINE
)


def load_evaluated_file(path: Path, root: Path, options: EvaluationOptions) -> EvaluatedFile:
    """Reads a file and determines its geometry: from its meta data, else from the options.

    Files of 2021 have no meta data: there `options.geometry` is needed, and the curvature of the
    Poincare ball is read from the training log unless `options.curvature` is given. Files of other
    programs are compared by cosine unless `options.geometry` is given.

    Raises:
        ValueError: the geometry cannot be determined, or the options contradict the file.
    """
    found = read_with_notes(path, options.embeddings, options.labels, split=options.split)
    if found.file.ids is None:
        raise ValueError(
            f"{path} has no labels, as files of new images that `embed` writes: there is nothing "
            f"to score it by. Search it: vmf-embeddings search QUERY --in {typed.argument(path)}"
        )
    if found.file.source is not None:
        raise ValueError(
            f"{path} holds corrupted images, which are scored beside the clean ones: name the file "
            f"of those, or its folder, and add --corrupted {typed.argument(path)}"
        )
    if found.foreign:
        evaluated, settings = _of_another_program(path, root, found, options), {}
    else:
        evaluated, settings = _of_a_run(path, root, found.file, options), settings_of(path.parent)
    return replace(evaluated, settings=settings, exclude_same=options.exclude_same)


def _of_a_run(
    path: Path, root: Path, file: EmbeddingFile, options: EvaluationOptions
) -> EvaluatedFile:
    """A file of this program, of today or of 2021."""
    described = (file.meta or {}).get("geometry")
    if described is not None:
        _check_agreement(described, options, path)
        notes = (f"Found c = {described['c']:g}",) if "c" in described else ()
        chosen = {**described, "name": options.geometry or described.get("name")}
        return EvaluatedFile(path, root, file, _stated_geometry(chosen, path), notes)
    if options.geometry is None:
        raise ValueError(_unknown_geometry(path, root, options))
    _check_logits(file, options.geometry, path)
    if options.geometry not in _CURVED:
        return EvaluatedFile(path, root, file, from_meta({"name": options.geometry}))
    curvature = options.curvature or curvature_from_log(path.parent)
    notes = () if options.curvature else (f"Found c = {curvature:g}",)
    return EvaluatedFile(
        path, root, file, from_meta({"name": options.geometry, "c": curvature}), notes
    )


def _stated_geometry(described: dict[str, Any], path: Path) -> Geometry:
    """The geometry that meta data describe; an error names the file and the key."""
    try:
        return from_meta(described)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: meta: geometry {printable(described)[:100]}: {error} Write the file again, "
            "or put this key of meta right"
        ) from error


def _of_another_program(
    path: Path, root: Path, found: Found, options: EvaluationOptions
) -> EvaluatedFile:
    """A file without meta data: compared as the options ask for, else by cosine."""
    notes = [f"Note: {note}." for note in found.notes]
    name = options.geometry or "cosine"
    if options.geometry is None:
        notes.append(f"Note: {_why_cosine(found.file.embeddings)}.")
    if name in _CURVED and options.curvature is None:
        raise ValueError(f"{path}: --geometry {name} needs the ball's curvature: add --curvature C")
    constants = {"c": options.curvature} if name in _CURVED else {}
    geometry = from_meta({"name": name, **constants})
    return EvaluatedFile(
        path, root, found.file, geometry, tuple(notes), foreign=True, split_read=found.split
    )


def _why_cosine(rows: np.ndarray) -> str:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    if np.allclose(lengths, 1, atol=1e-3):
        return "rows have length 1 and are compared by cosine"
    return (
        f"rows of length {lengths.min():.3g} to {lengths.max():.3g} are compared by cosine, which "
        "does not count length; --geometry euclidean does"
    )


def _unknown_geometry(path: Path, root: Path, options: EvaluationOptions) -> str:
    """The error for a file of 2021 without `--geometry`, with what to type."""
    folder = typed.argument(root)
    script = f"python -m {_DETERMINISTIC_SCRIPT} {folder} NORM (l2, hyperbolic or none)"
    reason = f"{path} does not record the geometry of its embeddings (files of 2021 do not). "
    if options.script_of_2021 is not None:
        return f"{reason}Type it: {script}"
    return (
        f"{reason}Add --geometry NAME ({', '.join(GEOMETRIES)}), or use the script of its method: "
        f"python -m {_VMF_SCRIPT} {folder} or {script}"
    )


def _check_logits(file: EmbeddingFile, geometry: str, path: Path) -> None:
    """Refuses a geometry that the shape of the logits of a file of 2021 contradicts.

    vMF methods wrote logits [N, S, C] over S draws, all others [N, C].
    """
    if file.logits is None or (file.logits.ndim == 3) == (geometry in _OF_DRAWS):
        return
    has_draws = file.logits.ndim == 3
    kind = "several draws per item, as von Mises-Fisher" if has_draws else "no draws, as other"
    script = _VMF_SCRIPT if has_draws else _DETERMINISTIC_SCRIPT
    raise ValueError(
        f"{path} has logits {list(file.logits.shape)}: {kind} methods wrote them in 2021, "
        f"not {geometry} ones. Use python -m {script} RUN"
    )


def _check_agreement(described: dict[str, Any], options: EvaluationOptions, path: Path) -> None:
    """Refuses options that contradict the file, and a script of 2021 for the other kind of file."""
    name = described.get("name")
    if options.script_of_2021 == "deterministic" and name == "vmf":
        raise ValueError(
            f"{path} holds von Mises-Fisher embeddings, whose scores are means over draws: "
            f"use python -m {_VMF_SCRIPT} RUN"
        )
    if options.script_of_2021 == "vmf" and name != "vmf":
        raise ValueError(
            f"{path} holds {name} embeddings, not von Mises-Fisher ones: "
            f"use python -m {_DETERMINISTIC_SCRIPT} RUN"
        )
    if options.geometry not in (None, name, *alternatives(name)):
        raise ValueError(
            f"{path} records the geometry {name}, the command line asks for {options.geometry}. "
            "The method itself wrote the file: leave the geometry out"
        )
    if options.curvature is not None and described.get("c", options.curvature) != options.curvature:
        raise ValueError(
            f"{path} records c = {described['c']:g}, --curvature is {options.curvature:g}: "
            "leave --curvature out"
        )


def curvature_from_log(folder: Path) -> float:
    """The curvature c > 0 that training in 2021 wrote into its log.

    Raises:
        ValueError: there is no log, no c in it, or c is not above 0.
    """
    log = folder / _LOG_OF_2021
    match = _CURVATURE.search(_text_of(log)) if log.exists() else None
    if match is None:
        raise ValueError(
            f"the curvature of the hyperbolic embeddings in {folder} is unknown: it is neither in "
            f"the file's meta data nor as 'c: …' in {log}. Add --curvature C (2021's default was "
            "1e-05)"
        )
    return _curvature(match[1] or match[2], log)


def _text_of(log: Path) -> str:
    with open_regular(log) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _LONGEST_LOG:
            raise ValueError(
                f"{log} has {size} bytes, more than any log of 2021: add --curvature C"
            )
        return stream.read(_LONGEST_LOG).decode(errors="replace")


def _curvature(word: str, log: Path) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{log} has c: {word}, expected a number above 0: add --curvature C")
    return value
