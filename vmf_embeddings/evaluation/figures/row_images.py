"""Small images of rows of an embedding file, which may come from somebody else."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.untrusted.image_pixels import convert_mode
from vmf_embeddings.untrusted.images import inside, read_image
from vmf_embeddings.untrusted.refused import Refused

SIDE = 128  # pixels


def has_images(file: EmbeddingFile) -> bool:
    """Whether a file holds images, or names them."""
    return _has_examples(file) or file.pictures is not None or file.paths is not None


def _has_examples(file: EmbeddingFile) -> bool:
    """Whether the stored inputs of the network are images, and not vectors [N, F]."""
    return file.examples is not None and file.examples.ndim >= 3


def image_of_row(
    file: EmbeddingFile, row: int, path: Path, images_from: Path | None = None
) -> np.ndarray:
    """The image of a row, [H, W] or [H, W, 3] in [0, 1].

    Args:
        file: that has images, or names them.
        row: its number.
        path: of the file: images in its folder may be shown.
        images_from: another folder whose images may be shown; names are relative to it.

    Raises:
        FileNotFoundError: the file names an image that does not exist.
        Refused: it may not be opened, or cannot be decoded.
    """
    if file.examples is not None and _has_examples(file):
        return _from_example(file.examples[row])
    if file.pictures is not None:
        return channels_last(file.pictures[row].astype(np.float32) / 255)
    assert file.paths is not None
    return thumbnail(permitted(str(file.paths[row]), path, images_from, file.paths))


def thumbnail(path: Path) -> np.ndarray:
    """The central square of an image file, [SIDE, SIDE, 3] in [0, 1].

    Raises:
        FileNotFoundError: it does not exist.
        Refused: it cannot be decoded.
    """
    from PIL import ImageOps

    image = convert_mode(read_image(path), "RGB")
    square = ImageOps.fit(image, (SIDE, SIDE))
    return np.asarray(square, dtype=np.float32) / 255


def permitted(name: str, path: Path, images_from: Path | None, names: Iterable[str] = ()) -> Path:
    """Path of an image: a received file may name images that are not to be shown.

    Args:
        name: of the image, as a file states it.
        path: of that file.
        images_from: see `image_of_row`.
        names: of all images that the file states, whose folder a refusal names.

    Raises:
        Refused: with the option to type, if the image is neither in the folder of the embedding
            file, nor in the working directory, nor in `images_from`, or below one of them.
    """
    folders: Sequence[Path] = [path.parent, Path()]
    if images_from is not None:
        name = os.path.join(images_from, name)
        folders = [*folders, images_from]
    found = inside(name, folders)
    if found is not None:
        return found
    folder = _folder_of(name, names)
    raise Refused(
        f"{path.name} names images outside its own folder and the working directory, "
        f"such as {name}; if that is your data set, add --images-from with its folder, such as "
        f"--images-from {typed.argument(folder)}"
    )


def _folder_of(name: str, names: Iterable[str]) -> str:
    """The folder that holds all images; that of the first where the home folder would be in it."""
    own = os.path.dirname(os.path.realpath(name))
    folders = {os.path.dirname(os.path.abspath(each)) for each in map(str, names)}
    whole = os.path.realpath(os.path.commonpath(folders)) if folders else own
    wide = Path.home().is_relative_to(whole) or not Path(own).is_relative_to(whole)
    return own if wide else whole


def _from_example(example: np.ndarray) -> np.ndarray:
    """Rescales a stored image, [H, W] or [channels, H, W] in any range, to [0, 1]."""
    example = example.astype(np.float32)
    low, high = example.min(), example.max()
    return channels_last((example - low) / (high - low if high > low else 1))


def channels_last(image: np.ndarray) -> np.ndarray:
    """[H, W] or [channels, H, W] as [H, W] for one channel, as [H, W, 3] for three or four."""
    if image.ndim == 2:
        return image
    return image[0] if image.shape[0] not in (3, 4) else image[:3].transpose(1, 2, 0)
