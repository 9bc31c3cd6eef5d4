"""What a checkpoint keeps of the data set, so that the run can be used without it."""

from typing import Any

from vmf_embeddings.datasets.base import Dataset


def data_description(dataset: Dataset) -> dict[str, Any]:
    """Number and names of the training classes, and how images become network inputs.

    Returns:
        `n_classes`: C; `class_names`: C texts, or None; `image_transform`: JSON values of
        `ImageTransform.to_meta`, or None for a data set that states none.
    """
    train, transform = dataset.split("train"), dataset.image_transform
    names = train.class_names
    return {
        "n_classes": int(train.n_classes),
        "class_names": None if names is None else [str(name) for name in names],
        "image_transform": None if transform is None else transform.to_meta(),
    }
