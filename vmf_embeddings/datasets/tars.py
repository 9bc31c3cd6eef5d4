"""Your own closed set from tars of images, in the naming of WebDataset.

Images are read in their tars, in any order: samplers, exact resuming and any number of processes
work as with image files, which a stream of tars cannot offer.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.labelled_lists import LabelledLists
from vmf_embeddings.datasets.list_table import ListTable
from vmf_embeddings.datasets.remote_tars import copies, is_address, local_folder
from vmf_embeddings.datasets.tar_table import read_tar_table
from vmf_embeddings.untrusted.refused import Refused


class Tars(LabelledLists):
    """Tars per split; images are those of `dataset=image_list`, and so are their batches.

    Args:
        dataset_path: folder of the tars, relative to the current directory; or the address of one,
            such as `s3://bucket/tars`, see `remote_tars`.
        train_tars: names of the tars of train, with `*` and `?`; read in sorted order.
        valid_tars: those of valid; None = hold out `valid_share` of train instead.
        test_tars: those of test.
        valid_share: see `LabelledLists`.
        image_size: see `ImageFileDataset`.
        augment: name of the training recipe.
        mean: per channel.
        std: per channel.
        normalisation: see `ImageFileDataset`.
        interpolation: see `ImageFileDataset`.
        crop_fraction: see `ImageFileDataset`.
        views: augmented versions of each training image, see `Split.with_views`.
        background: see `ImageFileDataset`.
        max_pixels: see `ImageFileDataset`.
        on_error: see `ImageFileDataset`.
        check: see `ImageFileDataset`.
        decoder: see `ImageFileDataset`.
        margin_warmup_epochs: see `Dataset`.
        cache_path: folder for copies of remote tars, with room for all; needed for an address.

    Raises:
        ValueError: a remote address without `cache_path`, or of an unknown kind.
    """

    name = "tar"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        train_tars: str,
        valid_tars: str | None,
        test_tars: str,
        valid_share: float,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        normalisation: str = "data",
        interpolation: str = "bilinear",
        crop_fraction: float | None = None,
        views: int,
        background: Background = "white",
        max_pixels: int | None = None,
        on_error: str = "refuse",
        check: str = "cheap",
        decoder: str = "pillow",
        margin_warmup_epochs: int,
        cache_path: str | Path | None = None,
    ) -> None:
        self.address = str(dataset_path) if is_address(dataset_path) else None
        super().__init__(
            local_folder(self.address, cache_path) if self.address else dataset_path,
            train_list=train_tars,
            valid_list=valid_tars,
            test_list=test_tars,
            valid_share=valid_share,
            image_size=image_size,
            augment=augment,
            mean=mean,
            std=std,
            normalisation=normalisation,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
            views=views,
            background=background,
            max_pixels=max_pixels,
            on_error=on_error,
            check=check,
            decoder=decoder,
            margin_warmup_epochs=margin_warmup_epochs,
        )

    @property
    def shared_hint(self) -> str:
        """See `ImageFileDataset`."""
        no_tars = "; without validation tars of their own: dataset.params.valid_tars=null"
        return no_tars if self.lists["valid"] else ""

    @cached_property
    def _tables(self) -> dict[str, ListTable]:
        found: dict[str, ListTable] = {}
        for name, pattern in self.lists.items():
            if pattern:
                self._refuse_other_folders(name, pattern)
                found[name] = read_tar_table(self._tars(name, pattern), self.dataset_path)
        return found

    def _refuse_other_folders(self, name: str, pattern: str) -> None:
        if os.path.isabs(pattern) or ".." in Path(pattern).parts:
            place = self.address or self.dataset_path
            below = typed.override("dataset.params.dataset_path", place)
            raise Refused(
                f"dataset.params.{name}_tars are names below {below}, got {pattern!r}; name a "
                "folder above all tars there"
            )

    def _tars(self, name: str, pattern: str) -> list[Path]:
        if self.address:
            return copies(self.address, pattern, self.dataset_path)
        found = sorted(path for path in self.dataset_path.glob(pattern) if path.is_file())
        if not found:
            raise FileNotFoundError(
                f"no tars {self.dataset_path / pattern}. Say where they lie with "
                f"dataset.params.dataset_path=FOLDER, and what they are called with "
                f"dataset.params.{name}_tars='NAME-*.tar'; to make them of a list: python -m "
                "vmf_embeddings.datasets.prepare.tars LIST FOLDER"
            )
        return found
