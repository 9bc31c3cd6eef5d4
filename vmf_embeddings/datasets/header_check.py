"""Headers of image files are read before work starts: what is broken is found, the rest noted."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from vmf_embeddings.datasets.image_reading import (
    N_THREADS,
    ImageReader,
    describe_reading,
    pixels_hint,
)
from vmf_embeddings.untrusted.image_headers import ImageHeader, probe
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

MOST_HEADERS = 50_000  # of a split: 4 s where files are in memory; of more, so many are looked at


def check_headers(paths: Mapping[str, Sequence[str]], reader: ImageReader) -> None:
    """Reads headers in threads, and says in the log how images are read that need more than that.

    Args:
        paths: split -> paths of its images. Of more than 50,000, so many at equal distances are
            looked at.
        reader: how they are read.

    Raises:
        Refused: images are truncated, too large or no images; the number and the first per split.
    """
    headers: list[ImageHeader] = []
    for name, all_paths in paths.items():
        step = -(-len(all_paths) // MOST_HEADERS)
        of_split = read_headers(all_paths[:: max(1, step)], reader.max_pixels)
        _refuse_faults(name, of_split)
        headers += of_split
    for line in describe_reading(headers, reader.background):
        log.info(line)


def read_headers(paths: Sequence[str], max_pixels: int | None = None) -> list[ImageHeader]:
    """The headers of files in the order of their paths, read in threads; see `probe`."""
    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(partial(probe, most_pixels=max_pixels), paths))


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
