"""Images in the forms that people hold them in, as batches for a trained network."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.untrusted.image_formats import is_picture, readable_suffixes
from vmf_embeddings.untrusted.images import TooManyPixels, decoded_image, inside
from vmf_embeddings.untrusted.refused import Refused

_FORMS = (
    "paths, a folder, Pillow images, uint8 arrays [N, H, W] or [N, H, W, ch], uint8 tensors "
    "[N, ch, H, W], floating-point tensors [N, ch, H, W] as the network takes them, or, for a "
    "network on feature vectors, arrays or tensors [N, F] of floats"
)
_MOST_IN_BATCH = 2**28  # numbers, 1 GB in float32: 64 images of 1024 x 1024 pixels pass
_READERS = min(8, os.cpu_count() or 1)
_MOST_TOGETHER = 8  # images that a thread reads at once: small ones are read in microseconds

Transform = Callable[[Any], Tensor]
OnBroken = Callable[[int, Exception], None]
Batch = tuple[list[int], Tensor]  # numbers of the images, their inputs [b, ch, H, W]


def image_files(folder: str | Path) -> list[Path]:
    """The images in a folder and the folders below it, sorted by path; their endings decide.

    Endings are those that the installed Pillow reads, in any case; hidden files are passed over.

    Links to files are listed where they lead to somewhere in the folder; folders that are links are
    not entered.

    Raises:
        FileNotFoundError: there is no such folder.
        Refused: it holds no image, or a link that leads out of it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if is_picture(name)
    ]
    if not found:
        raise Refused(f"{folder} holds no image; looked for {', '.join(readable_suffixes())}")
    for path in found:
        if path.is_symlink() and inside(path, [folder]) is None:
            raise Refused(f"{path} is a link that leads out of {folder}; name the file itself")
    return sorted(found)


class ImageBatches:
    """Network inputs for images of any supported form, read by threads while the network works.

    Two batches of images are held at most, beside the one that was taken last.

    Args:
        images: paths, a folder, Pillow images, arrays or tensors; see `Run.embed`.
        transform: from one image to the input [ch, H, W]; None = only floating-point tensors.
        batch_size: images per batch, >= 1.
        readers: threads that read and transform images, >= 1; None = one per CPU, at most 8.
        on_broken: called with the number of an image that cannot be read, and the error; it is then
            left out. None = the error is raised.

    Attributes:
        total: number of images, or None where it is not known in advance.

    Raises:
        Refused: the form is not supported.
        FileNotFoundError: a path does not exist.
    """

    def __init__(
        self,
        images: Any,
        transform: Transform | None,
        batch_size: int,
        *,
        readers: int | None = None,
        on_broken: OnBroken | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("readers", readers)):
            if value is not None and value < 1:
                raise Refused(f"{name}: expected at least 1, got {value}")
        self._items = _items(images)
        self._transform = transform
        self._batch_size = batch_size
        self._readers = readers or _READERS
        self._on_broken = on_broken
        self.total = len(self._items) if isinstance(self._items, Sized) else None

    def __iter__(self) -> Iterator[Tensor]:
        """Batches [b, ch, H, W], in the order of the images."""
        return (inputs for _, inputs in self.numbered())

    def numbered(self) -> Iterator[Batch]:
        """Batches, each with the numbers of its images, counted from 0."""
        if isinstance(self._items, Tensor) and self._items.is_floating_point():
            numbers = range(len(self._items))
            for start in range(0, len(self._items), self._batch_size):
                part = slice(start, start + self._batch_size)
                yield list(numbers[part]), self._items[part]
            return
        pool = ThreadPoolExecutor(self._readers)
        try:
            yield from self._collected(self._read_ahead(pool))
        finally:
            pool.shutdown(cancel_futures=True)

    def _read_ahead(self, pool: ThreadPoolExecutor) -> Iterator[tuple[int, Tensor]]:
        """Numbers and inputs of the images that can be read, in order."""
        numbered = enumerate(self._items)
        waiting: deque[Future[list[tuple[int, Tensor | Exception]]]] = deque()
        n_together, ahead = 1, 1  # memory is taken for more once the size of the first is known
        while True:
            while len(waiting) < ahead and (some := list(islice(numbered, n_together))):
                waiting.append(pool.submit(self._read, some))
            if not waiting:
                return
            for number, read in waiting.popleft().result():
                if isinstance(read, Exception):
                    self._broken(number, read)
                    continue
                if ahead == 1:
                    total = self.total or self._batch_size
                    _refuse_large_batch(read, min(self._batch_size, total))
                    n_together = max(1, min(_MOST_TOGETHER, self._batch_size // self._readers // 2))
                    ahead = max(2, 2 * self._batch_size // n_together)
                yield number, read

    def _read(self, images: list[tuple[int, Any]]) -> list[tuple[int, Tensor | Exception]]:
        """Inputs of some images, or why they cannot be read."""
        read: list[tuple[int, Tensor | Exception]] = []
        for one in images:
            try:
                read.append((one[0], self._input(one)))
            except (Refused, OSError) as error:
                read.append((one[0], error))
        return read

    def _broken(self, number: int, error: Exception) -> None:
        if self._on_broken is None:
            raise error
        self._on_broken(number, error)

    def _collected(self, images: Iterator[tuple[int, Tensor]]) -> Iterator[Batch]:
        shape = None
        while batch := list(islice(images, self._batch_size)):
            shape = shape or batch[0][1].shape
            for number, read in batch:
                if read.shape != shape:
                    raise Refused(
                        f"image {number} is an input {list(read.shape)}, an earlier one is "
                        f"{list(shape)}: a network takes inputs of one shape"
                    )
            yield [number for number, _ in batch], torch.stack([read for _, read in batch])

    def _input(self, numbered: tuple[int, Any]) -> Tensor:
        """The network's input for one image [ch, H, W]."""
        number, item = numbered
        if isinstance(item, Tensor) and item.is_floating_point():
            return item
        if self._transform is None:
            raise Refused(
                "this run does not state how images become network inputs: give transform= to "
                "vmf.load, which maps a Pillow image to a tensor [ch, H, W]; or give "
                "floating-point tensors [N, ch, H, W], or [N, F] to a network on feature vectors"
            )
        if isinstance(item, str | Path):
            if Path(item).is_dir():
                raise Refused(f"image {number} is a folder, {item}; give its files, as "
                              "vmf.image_files(folder)")  # fmt: skip
            return self._of_file(item)
        return self._transformed(item, f"image {number}")

    def _of_file(self, path: str | Path) -> Tensor:
        """The input for a file; large images are held decoded two at a time, until transformed."""
        try:
            with decoded_image(path) as image:
                return self._transformed(image, str(path))
        except TooManyPixels as error:
            raise Refused(
                f"{error}; if you trust it, open it with Pillow yourself and give the image, with "
                f"PIL.Image.MAX_IMAGE_PIXELS={error.n_pixels}, or shrink it"
            ) from error

    def _transformed(self, image: Any, source: str) -> Tensor:
        assert self._transform is not None
        try:
            return self._transform(image)
        except ValueError as error:
            raise Refused(f"{source}: {error}") from error


def _refuse_large_batch(first: Tensor, n_images: int) -> None:
    """A received transform says how large inputs are; here memory is taken for all of a batch."""
    if n_images > 1 and n_images * first.numel() > _MOST_IN_BATCH:
        raise Refused(
            f"batch_size: {n_images} inputs {list(first.shape)} are more than {_MOST_IN_BATCH} "
            f"numbers; give batch_size={max(1, _MOST_IN_BATCH // first.numel())}, if the network "
            "really takes images that large"
        )


def _items(images: Any) -> Iterable[Any]:
    """Single images, one after the other."""
    from PIL.Image import Image

    if isinstance(images, str | Path):
        path = Path(images)
        if not path.exists():
            raise FileNotFoundError(f"no image or folder {path}")
        return image_files(path) if path.is_dir() else [path]
    if isinstance(images, Image):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype.kind == "f" and images.ndim == 2:
        return torch.from_numpy(np.array(images, dtype=np.float32))  # feature vectors
    if isinstance(images, np.ndarray):
        return _checked_array(images)
    if isinstance(images, Tensor):
        return _checked_tensor(images)
    if isinstance(images, Iterable):
        return images
    raise Refused(f"images: expected {_FORMS}; got {type(images).__name__}")


def _checked_array(images: np.ndarray) -> np.ndarray:
    shape = list(images.shape)
    if images.dtype.kind in "UO":
        return images  # of paths or Pillow images
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise Refused(f"images: expected {_FORMS}; got {shape} of {images.dtype}")
    if images.ndim == 3 and shape[-1] in (3, 4):
        raise Refused(
            f"images: an array {shape} is read as {shape[0]} grey images {shape[1]} x {shape[2]}; "
            "a single image is images[None], grey images of that width are images[..., None]"
        )
    return images


def _checked_tensor(images: Tensor) -> Tensor:
    is_images = images.is_floating_point() or images.dtype == torch.uint8
    # networks on vectors take [N, F]
    if not is_images or not (images.ndim == 4 or (images.is_floating_point() and images.ndim == 2)):
        raise Refused(f"images: expected {_FORMS}; got {list(images.shape)} of {images.dtype}")
    return images
