"""Small long-tailed data sets: CIFAR10-LT, CIFAR100-LT, MNIST-LT and long-tailed digits."""

from pathlib import Path
from typing import ClassVar

from vmf_embeddings.datasets.augment import augmentation_named
from vmf_embeddings.datasets.cifar import Cifar10, Cifar100
from vmf_embeddings.datasets.digits import Digits
from vmf_embeddings.datasets.long_tailed import LongTailed
from vmf_embeddings.datasets.mnist import MNIST

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
# means and standard deviations in the code of LDAM and of GLMC, digit by digit
LDAM: Statistics = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
GLMC_CIFAR10: Statistics = (
    (0.49139968, 0.48215827, 0.44653124),
    (0.24703233, 0.24348505, 0.26158768),
)
NORMALISATIONS = ("ldam", "glmc")


class Cifar10LT(LongTailed):
    """CIFAR10 subsampled to a long tail (Cui et al. 2019, https://arxiv.org/abs/1901.05555).

    Args:
        dataset_path: folder of the files, relative to the current directory.
        download: whether missing files are downloaded.
        augment: training augmentation, a key of `augment.AUGMENTATIONS`.
        normalisation: means and standard deviations of the code of "ldam" or "glmc".
        profile: see `LongTailed`.
        imbalance_factor: see `LongTailed`.
        subset: see `LongTailed`.
        subset_seed: see `LongTailed`.
        validation: see `LongTailed`.
        views: augmented versions of each training image.
        margin_warmup_epochs: see `Dataset`.
    """

    source = Cifar10
    glmc: ClassVar[Statistics] = GLMC_CIFAR10
    config = "cifar10_lt"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        download: bool,
        augment: str,
        normalisation: str,
        profile: str,
        imbalance_factor: float,
        subset: str,
        subset_seed: int,
        validation: str,
        views: int,
        margin_warmup_epochs: int,
    ) -> None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"dataset.params.normalisation is one of {', '.join(NORMALISATIONS)}; "
                f"got {normalisation!r}"
            )
        data = self.source(dataset_path, download=download, margin_warmup_epochs=0)
        data.config = self.config
        data.augmentation = augmentation_named(augment)
        data.mean, data.std = self.glmc if normalisation == "glmc" else LDAM
        super().__init__(
            data,
            profile=profile,
            imbalance_factor=imbalance_factor,
            n_max=None,
            subset=subset,
            subset_seed=subset_seed,
            validation=validation,
            balanced_test=False,
            views=views,
            margin_warmup_epochs=margin_warmup_epochs,
        )


class Cifar100LT(Cifar10LT):
    """CIFAR100 subsampled in the same way."""

    source = Cifar100
    glmc = LDAM
    config = "cifar100_lt"


class MnistLT(LongTailed):
    """MNIST subsampled to a long tail.

    Args:
        dataset_path: folder of the files, relative to the current directory.
        download: whether missing files are downloaded.
        augment: training augmentation, a key of `augment.AUGMENTATIONS`.
        profile: see `LongTailed`.
        imbalance_factor: see `LongTailed`.
        subset: see `LongTailed`.
        subset_seed: see `LongTailed`.
        validation: see `LongTailed`.
        balanced_test: see `LongTailed`.
        views: augmented versions of each training image.
        margin_warmup_epochs: see `Dataset`.
    """

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        download: bool,
        augment: str,
        profile: str,
        imbalance_factor: float,
        subset: str,
        subset_seed: int,
        validation: str,
        balanced_test: bool,
        views: int,
        margin_warmup_epochs: int,
    ) -> None:
        data = MNIST(dataset_path, download=download, margin_warmup_epochs=0)
        data.config = "mnist_lt"
        data.augmentation = augmentation_named(augment)
        super().__init__(
            data,
            profile=profile,
            imbalance_factor=imbalance_factor,
            n_max=None,
            subset=subset,
            subset_seed=subset_seed,
            validation=validation,
            balanced_test=balanced_test,
            views=views,
            margin_warmup_epochs=margin_warmup_epochs,
        )


class DigitsLT(LongTailed):
    """scikit-learn's digits subsampled to a long tail: no download, seconds to train on.

    Args:
        augment: training augmentation, a key of `augment.AUGMENTATIONS`.
        profile: see `LongTailed`.
        imbalance_factor: see `LongTailed`.
        subset: see `LongTailed`.
        subset_seed: see `LongTailed`.
        validation: see `LongTailed`.
        balanced_test: see `LongTailed`.
        views: augmented versions of each training image.
        margin_warmup_epochs: see `Dataset`.
    """

    def __init__(
        self,
        *,
        augment: str,
        profile: str,
        imbalance_factor: float,
        subset: str,
        subset_seed: int,
        validation: str,
        balanced_test: bool,
        views: int,
        margin_warmup_epochs: int,
    ) -> None:
        data = Digits(margin_warmup_epochs=0, views=1)
        data.augmentation = augmentation_named(augment)
        super().__init__(
            data,
            profile=profile,
            imbalance_factor=imbalance_factor,
            n_max=None,
            subset=subset,
            subset_seed=subset_seed,
            validation=validation,
            balanced_test=balanced_test,
            views=views,
            margin_warmup_epochs=margin_warmup_epochs,
        )
