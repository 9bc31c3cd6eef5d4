"""How the files of a data set become RGB images, and which of them cannot be read."""

import contextlib
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from vmf_embeddings.untrusted.image_headers import ImageHeader
from vmf_embeddings.untrusted.image_pixels import Colour, convert_mode
from vmf_embeddings.untrusted.images import TooManyPixels, decoded_image
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

Background = str | Sequence[int] | None
ON_ERROR = ("refuse", "skip")
CHECKS = ("cheap", "full")
DECODERS = ("pillow", "draft")
N_THREADS = min(8, os.cpu_count() or 1)
_MEND = "; mend or remove it"
_NAMED = 5  # files in a message; of the others the number


def background_colour(value: Any) -> Colour | None:
    """The value of `dataset.params.background` as red, green and blue in 0..255; None for null.

    Args:
        value: a colour's name or hexadecimal code, three numbers, or None.

    Raises:
        ValueError: it is none of these.

    >>> background_colour("white"), background_colour("#102030"), background_colour([0, 0, 9])
    ((255, 255, 255), (16, 32, 48), (0, 0, 9))
    """
    from PIL import ImageColor

    if value is None:
        return None
    numbers: Any = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            numbers = ImageColor.getrgb(value)
    if (
        isinstance(numbers, Sequence)
        and len(numbers) == 3
        and all(type(number) is int and 0 <= number <= 255 for number in numbers)
    ):
        red, green, blue = numbers
        return red, green, blue
    raise ValueError(
        "dataset.params.background must be a colour such as white, black or [128,128,128] (red, "
        "green, blue in 0..255), or null to drop opacity and ignore EXIF orientation as up to "
        f"version 1.0; got {value!r}"
    )


@dataclass(frozen=True)
class ImageReader:
    """How image files are read; see `image_files.ImageFileDataset` for the options.

    Attributes:
        background: red, green, blue in 0..255; None = opacity dropped, orientation ignored.
        max_pixels: of one image; None = the limits of `untrusted.images`.
        draft_side: see `untrusted.images.decoded_image`.
    """

    background: Colour | None
    max_pixels: int | None = None
    draft_side: int | None = None

    @property
    def identity(self) -> list[str]:
        """What the identity of a split says about it; nothing where images are as up to 1.0."""
        found = []
        if self.background is not None:
            found.append(f"upright, opacity over {','.join(map(str, self.background))}")
        if self.draft_side is not None:
            found.append(f"JPEGs decoded at reduced size, at least {self.draft_side}")
        return found

    @contextlib.contextmanager
    def image(self, path: str) -> Iterator["Image"]:
        """The file's image as RGB, for the length of a block.

        Raises:
            Refused: naming the file and what to do about it.
        """
        with contextlib.ExitStack() as stack:
            try:
                options = {"most_pixels": self.max_pixels, "draft_side": self.draft_side}
                decoded = stack.enter_context(decoded_image(path, **options))
                image = convert_mode(decoded, "RGB", self.background)
            except TooManyPixels as error:
                raise Refused(f"{error}; {pixels_hint(error.n_pixels)}") from error
            except (OSError, ValueError) as error:
                what = error if str(path) in str(error) else f"cannot decode {path}: {error}"
                raise Refused(
                    f"{what}{_MEND}, and its row in the list, or leave out all that "
                    "cannot be read with dataset.params.on_error=skip"
                ) from error
            yield image

    def decoded(self, paths: Sequence[str]) -> list[bytes | str]:
        """Decodes files in threads: for each a hash of its pixels, or why it cannot be read.

        Args:
            paths: N.
        """
        found: list[bytes | str] = []
        threshold, numbered = 10_000, iter(paths)
        with ThreadPoolExecutor(N_THREADS) as pool:
            while part := list(islice(numbered, 512)):
                found += pool.map(self._digest, part)
                if len(found) >= threshold:
                    log.info("Decoded %d of %d images", len(found), len(paths))
                    threshold += 10_000
        return found

    def _digest(self, path: str) -> bytes | str:
        try:
            with self.image(path) as image:
                digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
                digest.update(image.tobytes())
                return digest.digest()
        except Refused as error:
            return reason(error)


def reason(error: Refused) -> str:
    """Why an image cannot be read, without what to do about it, which is said once for all."""
    return str(error).split(_MEND)[0]


def pixels_hint(n_pixels: int) -> str:
    """What to type for an image with so many pixels."""
    return f"if you trust it, add dataset.params.max_pixels={n_pixels}; or shrink or remove it"


def check_reading(max_pixels: Any, on_error: Any, check: Any, decoder: Any) -> None:
    """Refuses values of `dataset.params.max_pixels`, `on_error`, … that mean nothing.

    Raises:
        ValueError: naming the key and its values.
    """
    if max_pixels is not None and (type(max_pixels) is not int or max_pixels < 1):
        raise ValueError(
            f"dataset.params.max_pixels must be a whole number >= 1, or null; got {max_pixels!r}"
        )
    for key, value, known in (
        ("on_error", on_error, ON_ERROR),
        ("check", check, CHECKS),
        ("decoder", decoder, DECODERS),
    ):
        if value not in known:
            raise ValueError(
                f"dataset.params.{key} must be one of {', '.join(known)}, got {value!r}"
            )


def describe_reading(headers: Sequence[ImageHeader], background: Colour | None) -> list[str]:
    """Lines for the log: how many images are turned, put on a background, or cut to one frame.

    Args:
        headers: of all images, or of those that were looked at.
        background: as of `ImageReader`.
    """
    lines = []
    of = f"of {len(headers)} images"
    modes = Counter(header.mode for header in headers if header.has_opacity)
    n_clear = sum(modes.values())
    n_turned = sum(header.orientation != 1 for header in headers)
    n_cut = sum(header.has_more_frames for header in headers)
    if n_clear and background is not None:
        kinds = ", ".join(f"{n} {mode}" for mode, n in modes.most_common())
        colour = list(background)
        lines.append(
            f"{n_clear} {of} can be transparent ({kinds}): they are put on the background "
            f"{colour} (dataset.params.background)"
        )
    if n_turned and background is not None:
        lines.append(f"{n_turned} {of} are turned as their EXIF orientation says")
    if (n_clear or n_turned) and background is None:
        lines.append(
            f"{n_clear} {of} can be transparent and {n_turned} have an EXIF orientation: with "
            "dataset.params.background=null, and in runs up to version 1.0, opacity is dropped "
            "and the orientation ignored"
        )
    if n_cut:
        lines.append(f"{n_cut} {of} have several frames or pages: the first is read")
    return lines


def name_skipped(faults: Sequence[str], n_images: int, split: str) -> str:
    """The line for the log about the images of a split that are left out."""
    shown = "; ".join(faults[:_NAMED])
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return (
        f"{len(faults)} of {n_images} {split} images cannot be read and are left out "
        f"(dataset.params.on_error=skip): {shown}{more}"
    )
