"""What goes into a network: the length of vectors, their statistics, and whether it can take it."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vmf_embeddings.cli.assembly.refused import Refused

if TYPE_CHECKING:
    from vmf_embeddings.archs.base import Arch
    from vmf_embeddings.datasets.base import Dataset


def fill_in_features(cfg: DictConfig, data: "Dataset") -> None:
    """Replaces `arch.params.in_features=null` by the length of the data set's vectors.

    An `embedding_dim` of null then is that length too. Archs without this parameter take images.

    Raises:
        Refused: the data set holds images, or vectors of another length.
    """
    params = cfg.arch.get("params", {})
    if "in_features" not in params:
        return
    shape = data.example_shape
    if len(shape) != 1:
        raise Refused(
            f"arch={cfg.arch.name} takes feature vectors, and dataset={cfg.dataset.name} has "
            f"images {shape} (channels, height, width): use dataset=features, or a network for "
            "images such as arch=resnet18"
        )
    if params.in_features is None:
        params.in_features = shape[0]
    if params.in_features != shape[0]:
        raise Refused(
            f"arch.params.in_features={params.in_features}, but the vectors of dataset="
            f"{cfg.dataset.name} have {shape[0]} numbers; leave arch.params.in_features out, or "
            "use vectors of the same model as in the training"
        )
    if params.embedding_dim is None:
        params.embedding_dim = shape[0]


def standardize(arch: "Arch", data: "Dataset", name: str) -> None:
    """Gives a network on vectors the mean and standard deviation of the training vectors.

    Raises:
        Refused: it has no place for them.
    """
    from vmf_embeddings.archs.vectors import VectorArch
    from vmf_embeddings.datasets.features_statistics import column_statistics

    if not isinstance(arch, VectorArch):
        raise Refused(
            f"dataset.params.standardize=true needs arch=identity, linear or mlp, which keep the "
            f"statistics; arch={name} does not"
        )
    arch.set_input_statistics(*column_statistics(data.split("train")))


def try_one_example(arch: "Arch", data: "Dataset", cfg: DictConfig) -> None:
    """Refuses a network that cannot take the data set's examples, by trying a zero."""
    import torch

    from vmf_embeddings.archs.vectors import VectorArch

    shape = data.example_shape
    try:
        with torch.no_grad():
            arch.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if len(shape) == 1 and isinstance(arch, VectorArch):
            raise Refused(
                f"arch={cfg.arch.name} cannot take the vectors of {shape[0]} numbers of dataset="
                f"{cfg.dataset.name}: {error}. Use features of the same model as in the training"
            ) from error
        if len(shape) == 1:
            raise Refused(
                f"arch={cfg.arch.name} takes images, and dataset={cfg.dataset.name} has vectors of "
                f"{shape[0]} numbers: add arch=mlp, arch=linear or arch=identity"
            ) from error
        raise Refused(
            f"arch={cfg.arch.name} cannot take the images {shape} (channels, "
            f"height, width) of dataset={cfg.dataset.name}: {error}. Networks of the resnet family "
            "take gray images with arch.params.in_channels=1, any size with dataset.params."
            "image_size; n_digit_mnist takes gray 28 x 28 images with arch.params.n_digits=1"
        ) from error
    arch.train()
