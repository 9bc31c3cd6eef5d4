"""Headers of image files are read before work starts: what is broken is found, the rest noted."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from vmf_embeddings.datasets.image_reading import (
    N_THREADS,
    ImageReader,
    describe_reading,
    pixels_hint,
    reason,
)
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.untrusted.image_headers import ImageHeader, probe
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

MOST_HEADERS = 50_000  # of a split: 4 s where files are in memory; of more, so many are looked at
_AT_ONCE = 256  # files that a thread looks at before it takes others
_ANNOUNCED = 10_000  # from so many files on the log says that it begins
_WITHOUT_RANGE = ("F", "I")  # modes whose values decide whether they can be read


def check_headers(
    paths: Mapping[str, Sequence[str]], reader: ImageReader, transform: ImageTransform
) -> None:
    """Reads headers in threads, and says in the log how images are read that need more than that.

    Args:
        paths: split -> paths of its images. Of more than 50,000, so many at equal distances are
            looked at.
        reader: how they are read.
        transform: what is done with them in evaluation.

    Raises:
        Refused: images are truncated, too large, too narrow or no images; the number and the first
            per split.
    """
    headers: list[ImageHeader] = []
    for name, all_paths in paths.items():
        step = -(-len(all_paths) // MOST_HEADERS)
        chosen = all_paths[:: max(1, step)]
        if len(chosen) >= _ANNOUNCED:
            log.info("Reading the headers of %d %s images", len(chosen), name)
        of_split = read_headers(chosen, reader, transform)
        _refuse_faults(name, of_split)
        headers += of_split
    for line in describe_reading(headers, reader.background):
        log.info(line)


def read_headers(
    paths: Sequence[str], reader: ImageReader, transform: ImageTransform
) -> list[ImageHeader]:
    """The headers of files in the order of their paths, read in threads; see `probe`."""
    parts = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    read = partial(_headers, reader=reader, transform=transform)
    with ThreadPoolExecutor(N_THREADS) as pool:
        return [header for part in pool.map(read, parts) for header in part]


def _headers(
    paths: Sequence[str], reader: ImageReader, transform: ImageTransform
) -> list[ImageHeader]:
    return [_header(path, reader, transform) for path in paths]


def _header(path: str, reader: ImageReader, transform: ImageTransform) -> ImageHeader:
    """What the header states, with what makes the image unusable although it can be decoded."""
    header = probe(path, most_pixels=reader.max_pixels)
    if header.fault is not None:
        return header
    try:
        transform.refuse_narrow(*header.size)
        if header.mode in _WITHOUT_RANGE:
            with reader.image(path):
                pass
    except Refused as error:
        fault = reason(error)
        return replace(header, fault=fault if path in fault else f"cannot use {path}: {fault}")
    return header


def _refuse_faults(name: str, headers: Sequence[ImageHeader]) -> None:
    faulty = [header for header in headers if header.fault is not None]
    if not faulty:
        return
    most = max(header.n_pixels_refused for header in faulty)
    remedy = f"{pixels_hint(most)}. " if most else ""
    raise Refused(
        f"{len(faulty)} of {len(headers)} {name} images cannot be read; the first: "
        f"{faulty[0].fault}. {remedy[:1].upper()}{remedy[1:]}Mend or remove such files, and their "
        "rows in a list, or leave them out with dataset.params.on_error=skip"
    )
