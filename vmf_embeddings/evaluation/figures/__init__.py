"""Pictures of one run, beside its embeddings: curves, map, reliability, classes, neighbours."""

from pathlib import Path

from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.figures.class_ranks import draw_class_ranks
from vmf_embeddings.evaluation.figures.curves import draw_curves, read_history
from vmf_embeddings.evaluation.figures.embedding_map import draw_embedding_map
from vmf_embeddings.evaluation.figures.neighbours import draw_neighbours
from vmf_embeddings.evaluation.figures.reliability import draw_reliability
from vmf_embeddings.evaluation.figures.style import save, styled
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.subject import Subject

__all__ = ["draw_all"]


def draw_all(
    subject: Subject, scores: Scores, options: EvaluationOptions
) -> tuple[list[Path], list[str]]:
    """Draw what the file allows.

    Args:
        subject: the file.
        scores: its scores, for the reliability diagram and the classes.
        options: `seed` chooses the items that are shown.

    Returns:
        The pictures written, and notes on what could not be drawn.
    """
    prefix = subject.prefix
    folder, written = subject.path.parent, []
    notes: list[str] = []
    with styled():
        history = read_history(folder / "metrics.csv")
        metric = "Recall@1" if subject.file.open_set else "accuracy"
        last = subject.selected_on == "last"
        curves = draw_curves(history, subject.title, metric, last=last) if history else None
        figures = {"training_curves.png": curves}
        figures[f"{prefix}embedding_map.png"] = draw_embedding_map(subject, options.seed)
        if scores.confidence is not None and scores.correct is not None:
            figures[f"{prefix}reliability.png"] = draw_reliability(
                scores.confidence, scores.correct, subject.title
            )
        if scores.shots is not None:
            figures[f"{prefix}per_class.png"] = draw_class_ranks(
                scores.shots, subject.title, subject.class_names
            )
        refused = _refusal(subject.file)
        figures[f"{prefix}neighbours.png"], note = (
            (None, refused) if refused else draw_neighbours(subject, options)
        )
        notes.extend([note] if note else [])
        for name, figure in figures.items():
            if figure is not None:
                written.append(save(figure, folder / name))
    return written, notes


def _refusal(file: EmbeddingFile) -> str | None:
    """Why the images in the file cannot be drawn beside one another; None where they can."""
    for name, images in (("examples", file.examples), ("pictures", file.pictures)):
        if images is not None and (images.ndim not in (3, 4) or images.size == 0):
            return (
                f"No picture of neighbours: {name} have the shape {list(images.shape)}, expected "
                "[N, H, W] or [N, channels, H, W]"
            )
    return None
