"""Cars196 (Krause et al. 2013): 98 training and 98 test classes.

https://ai.stanford.edu/~jkrause/papers/3drr13.pdf
"""

import io
import math
import struct
import zlib
from pathlib import Path

from vmf_embeddings.datasets.prepare.lists import by_class, validation_classes
from vmf_embeddings.datasets.prepare.source import Download, Lists, Source, UserMistake
from vmf_embeddings.untrusted.files import open_regular

N_TRAIN_CLASSES = 98
N_VALID_CLASSES = 15
ANNOTATIONS = "cars_annos.mat"
MOST_BYTES = 64 * 2**20  # the published file has 16,185 short rows
_HEADER, _COMPRESSED = 128, 15
HOST = "http://imagenet.stanford.edu/internal/car196"


def read(path: Path) -> Lists:
    """Reads `cars_annos.mat`: path (field 0) and class 1..196 (field 5) of each image.

    Args:
        path: folder of the file.

    Returns:
        (path, class 0..195) of the images of train, val and test.

    Raises:
        UserMistake: the file does not have that form.
    """
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        plain = _unpacked(path / ANNOTATIONS)
        if any(math.prod(shape) > MOST_BYTES for _, shape, _ in whosmat(plain)):
            raise ValueError("an array that is larger than the file")
        annotations = loadmat(plain)["annotations"][0]
        labels = {str(row[0][0]): int(row[5][0][0]) - 1 for row in annotations}
    except (
        ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError, OSError,
        MatReadError, zlib.error, struct.error,
    ) as error:  # fmt: skip
        raise UserMistake(
            f"{path / ANNOTATIONS} does not hold Cars196's annotations: {error!r}"
        ) from error
    valid = validation_classes(N_TRAIN_CLASSES, N_VALID_CLASSES)
    return by_class(labels.items(), N_TRAIN_CLASSES, valid)


def _unpacked(path: Path) -> io.BytesIO:
    """The file with its compressed elements decompressed, within a limit of memory.

    A MAT-file of version 5 consists of a header of 128 bytes and of elements: type and length (two
    int32 in the byte order of the writer), then content. The content of an element of type 15 is
    another element, compressed by zlib
    (https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).

    Raises:
        ValueError: it has more than `MOST_BYTES`, before or after decompression.
    """
    with open_regular(path) as stream:
        content = stream.read(MOST_BYTES + 1)
    order = "<" if content[126:128] == b"IM" else ">"
    plain, offset = [content[:_HEADER]], _HEADER
    n_bytes = len(content)
    while n_bytes <= MOST_BYTES and offset + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, offset)
        element = content[offset : offset + 8 + length]
        if kind == _COMPRESSED:
            element = zlib.decompressobj().decompress(element[8:], MOST_BYTES)
        plain.append(element)
        n_bytes += len(element)
        offset += 8 + length
    if n_bytes > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return io.BytesIO(b"".join(plain))


CARS196 = Source(
    title="Cars196",
    config="cars196",
    downloads=(
        Download(ANNOTATIONS, f"{HOST}/{ANNOTATIONS}"),
        Download("car_ims.tgz", f"{HOST}/car_ims.tgz"),
    ),
    folder="",
    images="",
    marker_files=(ANNOTATIONS,),
    read=read,
)
