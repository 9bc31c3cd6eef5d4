"""A training from inside Python."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmf_embeddings.trained import Run, load

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset


def train(
    overrides: Sequence[str] = (), dataset: "Dataset | None" = None, *, device: str = "auto"
) -> Run:
    """Trains as the command `train` with these overrides does, in the same run folder.

    Lines of the log go to the run folder and to `logging.getLogger("vmf_embeddings")`; a finished
    or interrupted run of the same configuration resumes, unless `resume=never` is given.

    Args:
        overrides: what one types behind `vmf-embeddings train`, as
            `["experiment=demo", "mode.epochs=2"]`.
        dataset: images of one's own, an instance of a subclass of `datasets.base.Dataset`, instead
            of `dataset=…`. Commands cannot build it later: to embed the images of such a run, use
            the result of this function or of `load`.
        device: where the returned run computes; the training itself follows `trainer=…`.

    Returns:
        The best epoch of the run.

    Raises:
        ValueError: a mistake in the arguments; nothing was trained.
    """
    from vmf_embeddings.cli import training_call  # imports Hydra

    folder = training_call.train(overrides, dataset)
    transform = None if dataset is None else dataset.image_transform
    return load(folder, device=device, transform=transform)
