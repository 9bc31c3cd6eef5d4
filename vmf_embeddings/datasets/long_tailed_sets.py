"""The small data sets with a long tail: CIFAR10-LT, CIFAR100-LT, and digits to try methods on."""

from pathlib import Path

from vmf_embeddings.datasets.augment import augmentation_named
from vmf_embeddings.datasets.cifar import Cifar10, Cifar100
from vmf_embeddings.datasets.digits import Digits
from vmf_embeddings.datasets.long_tailed import LongTailed
from vmf_embeddings.datasets.mnist import MNIST

# means and standard deviations of the two schools' code; they differ in CIFAR10's deviations only
LDAM_MEAN, LDAM_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
GLMC_CIFAR10_STD = (0.2470, 0.2435, 0.2616)
NORMALISATIONS = ("ldam", "glmc")


class Cifar10LT(LongTailed):
    """CIFAR10 thinned as in the literature (Cui et al. 2019, https://arxiv.org/abs/1901.05555).

    Args:
        dataset_path: see `Cifar10`, as for `download`.
        download: whether to fetch missing files.
        augment: name of `augment.AUGMENTATIONS`.
        normalisation: whose means and standard deviations: `ldam` or `glmc`.
        profile: see `LongTailed`, as for the rest.
        imbalance_factor: first class over last.
        subset: which images.
        subset_seed: of `seeded`.
        validation: where it comes from.
        views: pictures of one training image.
        margin_warmup_epochs: see `Dataset`.
    """

    source = Cifar10
    glmc_std = GLMC_CIFAR10_STD
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
        data.mean, data.std = LDAM_MEAN, self.glmc_std if normalisation == "glmc" else LDAM_STD
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
    """CIFAR100 thinned in the same way."""

    source = Cifar100
    glmc_std = LDAM_STD
    config = "cifar100_lt"


class MnistLT(LongTailed):
    """MNIST thinned; 15% is held out for validation first, so that every class can be seen there.

    Args:
        dataset_path: see `MNIST`, as for `download`.
        download: whether to fetch missing files.
        augment: name of `augment.AUGMENTATIONS`.
        profile: see `LongTailed`, as for the rest.
        imbalance_factor: first class over last.
        subset: which images.
        subset_seed: of `seeded`.
        validation: where it comes from.
        balanced_test: whether test keeps equally many images of every class.
        views: pictures of one training image.
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
    """scikit-learn's digits thinned: no download, seconds to train on.

    Args:
        augment: name of `augment.AUGMENTATIONS`.
        profile: see `LongTailed`, as for the rest.
        imbalance_factor: first class over last.
        subset: which images.
        subset_seed: of `seeded`.
        validation: where it comes from.
        balanced_test: whether test keeps equally many images of every class.
        views: pictures of one training image.
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
        data = Digits(margin_warmup_epochs=0)
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
