"""Images of rows, decoded and encoded anew: small ones in one sheet for a map, tiles for grids."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps, features

from vmf_embeddings.evaluation.figures.row_images import has_images, image_of_row
from vmf_embeddings.progress import Progress
from vmf_embeddings.report.packing import data_url
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

_GRID = 96  # pixels, largest side of an image in a grid
# of one in the sheet of the map, the smaller where not all fit otherwise; whole blocks of 16, over
# which an encoder takes colours together
_SIDES = (48, 32)
_COLUMNS = 40
_SAMPLE = 64  # images whose encoded size says how many fit
_QUALITY = 62
_SAFETY = 1.15


@dataclass
class Pictures:
    """The images of a run, read when they are asked for.

    Args:
        run: whose rows they show.
        failures: row -> why its image cannot be shown.
    """

    run: ReportedRun
    failures: dict[int, str] = field(default_factory=dict)

    @cached_property
    def why_none(self) -> str | None:
        """Why the file has no image to show; None where it may have."""
        file = self.run.evaluated.file
        for images in (file.examples, file.pictures):
            if images is not None and images.ndim in (3, 4) and images.size:
                return None
        if not has_images(file) or file.paths is None:
            return "the file holds neither images nor their paths"
        if not any(is_picture(str(path)) for path in file.paths[:100]):
            return "the file names no image files"
        return None

    def of(self, row: int, side: int) -> Image.Image | None:
        """The image of a row, at most `side` pixels wide and high; None where there is none."""
        if self.why_none is not None or row in self.failures:
            return None
        options, evaluated = self.run.options.evaluation, self.run.evaluated
        try:
            pixels = image_of_row(evaluated.file, row, evaluated.path, options.images_from)
        except (OSError, Refused) as error:
            self.failures[row] = printable(error)
            return None
        pixels = np.nan_to_num(np.asarray(pixels, np.float32))
        image = Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
        return ImageOps.contain(image, (side, side)) if max(image.size) > side else image

    def tile(self, row: int) -> str | None:
        """The address of an image in a grid; None where there is none."""
        image = self.of(row, _GRID)
        return None if image is None else data_url(_encoded(image, 80), _kind())

    def sheet(self, rows: Sequence[int], most_bytes: int) -> "Sheet | None":
        """As many of the rows' images as fit, the first ones, in one image.

        Args:
            rows: row numbers, in random order.
            most_bytes: of the encoded sheet.
        """
        if self.why_none is not None or not len(rows):
            return None
        side, n_shown = self._fitting(rows, most_bytes)
        if len(self.failures) == min(len(rows), _SAMPLE):
            return None
        while n_shown > 0:
            with Progress(f"Reading {n_shown:,} images for the map"):
                content = _encoded(_joined(self._squares(rows[:n_shown], side)), _QUALITY)
            if len(content) <= most_bytes:
                return Sheet(data_url(content, _kind()), side, _COLUMNS, n_shown)
            n_shown = min(n_shown - 1, int(0.9 * n_shown * most_bytes / len(content)))
        return None

    def _fitting(self, rows: Sequence[int], most_bytes: int) -> tuple[int, int]:
        """Side and number of the images that will fit, by the encoded size of some."""
        for side in _SIDES:
            some = self._squares(rows[:_SAMPLE], side)
            each = len(_encoded(_joined(some), _QUALITY)) / len(some)
            n_shown = min(len(rows), int(most_bytes / (_SAFETY * each)))
            if n_shown == len(rows):
                break
        return side, n_shown

    def _squares(self, rows: Sequence[int], side: int) -> list[Image.Image]:
        found = []
        for row in rows:
            image = self.of(int(row), 2 * side)
            blank = Image.new("RGB", (side, side), "#808080")
            found.append(blank if image is None else ImageOps.fit(image.convert("RGB"), blank.size))
        return found

    def note(self) -> str | None:
        """What could not be shown, and why; None where everything was."""
        if self.why_none is not None:
            return f"no images: {self.why_none}"
        if not self.failures:
            return None
        n, first = len(self.failures), next(iter(self.failures.values()))
        return f"{n:,} image{'s' * (n > 1)} could not be shown: {first}"


@dataclass(frozen=True)
class Sheet:
    """Small images, row after row in one large image.

    Args:
        address: of the image, with its content.
        side: of each, pixels.
        columns: in the sheet.
        n: how many there are.
    """

    address: str
    side: int
    columns: int
    n: int


def _joined(squares: Sequence[Image.Image]) -> Image.Image:
    side, n_lines = squares[0].width, -(-len(squares) // _COLUMNS)
    sheet = Image.new("RGB", (side * _COLUMNS, side * n_lines))
    for n, square in enumerate(squares):
        sheet.paste(square, (side * (n % _COLUMNS), side * (n // _COLUMNS)))
    return sheet


def _kind() -> str:
    return "webp" if features.check("webp") else "jpeg"


def _encoded(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image = image if image.mode in ("RGB", "L") else image.convert("RGB")
    if _kind() == "webp":
        image.convert("RGB").save(stream, format="WEBP", quality=quality, method=4)
    else:
        image.save(stream, format="JPEG", quality=quality)
    return stream.getvalue()
