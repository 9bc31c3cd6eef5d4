"""Figures of one run: training curves, embedding map, reliability, classes, neighbours."""

from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.compact import COMPACT
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.calibration import draw_calibration
from vmf_embeddings.evaluation.figures.class_ranks import draw_class_ranks
from vmf_embeddings.evaluation.figures.concentrations import draw_concentrations
from vmf_embeddings.evaluation.figures.corruption import draw_corruption
from vmf_embeddings.evaluation.figures.curves import History, draw_curves, read_history
from vmf_embeddings.evaluation.figures.dimensions import draw_dimensions
from vmf_embeddings.evaluation.figures.embedding_map import draw_embedding_map
from vmf_embeddings.evaluation.figures.neighbours import draw_neighbours
from vmf_embeddings.evaluation.figures.ood import draw_ood
from vmf_embeddings.evaluation.figures.reliability import draw_reliability
from vmf_embeddings.evaluation.figures.risk_coverage import draw_risk_coverage
from vmf_embeddings.evaluation.figures.style import save, styled
from vmf_embeddings.evaluation.figures.text import missing
from vmf_embeddings.evaluation.figures.verification import draw_verification
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_all"]

# table of scores -> end of the file's name, and what draws it
_OF_TABLES = {
    COMPACT: ("dimensions.png", draw_dimensions),
    "calibration": ("calibration.png", draw_calibration),
    "corruption": ("corruption.png", draw_corruption),
    "ood": ("ood.png", draw_ood),
    "uncertainty": ("risk_coverage.png", draw_risk_coverage),
    "verification": ("verification.png", draw_verification),
}


def draw_all(
    evaluated: EvaluatedFile, scores: Scores, options: EvaluationOptions
) -> tuple[list[Path], list[str]]:
    """Draws every figure for which the file has the data, into the file's folder.

    Args:
        evaluated: the file.
        scores: its scores, for the reliability diagram and the accuracy per class.
        options: `seed` chooses the rows that are shown.

    Returns:
        Paths of the figures written, and notes on those that could not be drawn.
    """
    prefix = evaluated.prefix
    folder, written = evaluated.path.parent, []
    notes = _notes_on_names(evaluated)
    with styled():
        history = read_history(folder / "metrics.csv")
        figures = {"training_curves.png": _curves(evaluated, history) if history else None}
        figures[f"{prefix}embedding_map.png"] = draw_embedding_map(evaluated, options.seed)
        of_classes = read_history(folder / "class_kappas.csv")
        concentrations = draw_concentrations(evaluated, history, of_classes)
        figures[f"{prefix}concentrations.png"] = concentrations
        if scores.confidence is not None and scores.correct is not None:
            figures[f"{prefix}reliability.png"] = draw_reliability(
                scores.confidence, scores.correct, evaluated.title
            )
        if scores.shots is not None:
            figures[f"{prefix}per_class.png"] = draw_class_ranks(
                scores.shots, evaluated.title, evaluated.class_names
            )
        for section, (name, draw) in _OF_TABLES.items():
            if section in scores.tables:
                figures[f"{prefix}{name}"] = draw(scores.tables[section], evaluated.title)
        reason = _unusable_images(evaluated.file)
        figures[f"{prefix}neighbours.png"], note = (
            (None, reason) if reason else draw_neighbours(evaluated, options)
        )
        notes.extend([note] if note else [])
        for name, figure in figures.items():
            if figure is not None:
                written.append(save(figure, folder / name))
    return written, notes


def _curves(evaluated: EvaluatedFile, history: History) -> "Figure":
    selected_by = evaluated.meta("selected_by")
    metric = "Recall@1" if evaluated.file.open_set else "accuracy"
    if selected_by in ("Recall@1", "MAP@R"):  # accuracy stands beside the NLL
        metric = selected_by
    last = evaluated.selected_on == "last"
    return draw_curves(history, evaluated.title, metric, last=last, kept=evaluated.meta("epoch"))


def _notes_on_names(evaluated: EvaluatedFile) -> list[str]:
    """A note on class names that stand as numbers, with an example of what lacks a font."""
    lacking = {
        name: sorted(characters)
        for name in (evaluated.class_names or {}).values()
        if (characters := missing(name))
    }
    if not lacking:
        return []
    name, characters = next(iter(lacking.items()))
    return [
        f"Figures show {len(lacking):,} of the class names as numbers, such as {name}: no font was "
        f"found for {' '.join(characters[:8])}. Install one, such as Noto Sans CJK"
    ]


def _unusable_images(file: EmbeddingFile) -> str | None:
    """Why images stored in the file cannot be drawn; None where they can, or there are none."""
    for name, images in (("examples", file.examples), ("pictures", file.pictures)):
        if images is not None and (images.ndim not in (3, 4) or images.size == 0):
            return (
                f"No figure of neighbours: {name} have the shape {list(images.shape)}, expected "
                "[N, H, W] or [N, channels, H, W]"
            )
    return None
