"""Data sets: one file per way of reading, each giving immutable train, valid and test splits.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.datasets`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.datasets.arrays import ArrayDataset, ArraySplit
    from vmf_embeddings.datasets.augment import Augmentation
    from vmf_embeddings.datasets.augmentation_recipes import Recipe
    from vmf_embeddings.datasets.base import Dataset, Split
    from vmf_embeddings.datasets.cifar import Cifar10, Cifar100
    from vmf_embeddings.datasets.csv_table import CsvTable
    from vmf_embeddings.datasets.digits import Digits, DigitsOpen
    from vmf_embeddings.datasets.features import Features
    from vmf_embeddings.datasets.features_split import VectorSplit
    from vmf_embeddings.datasets.folder import Folder
    from vmf_embeddings.datasets.image_file_split import ImageFileSplit
    from vmf_embeddings.datasets.image_files import ImageFileDataset
    from vmf_embeddings.datasets.image_list import (
        Cars196,
        Cub200,
        ImageList,
        StanfordOnlineProducts,
    )
    from vmf_embeddings.datasets.image_transform import ImageTransform
    from vmf_embeddings.datasets.imagenet import ImageNet
    from vmf_embeddings.datasets.inshop import InShop
    from vmf_embeddings.datasets.labelled_lists import (
        ImageNetLT,
        INat2018,
        INat2019,
        LabelledLists,
        PlacesLT,
    )
    from vmf_embeddings.datasets.long_tailed import LongTailed
    from vmf_embeddings.datasets.long_tailed_sets import Cifar10LT, Cifar100LT, DigitsLT, MnistLT
    from vmf_embeddings.datasets.mnist import MNIST, FashionMNIST, MNISTOpen
    from vmf_embeddings.datasets.normalisation import Normalisation
    from vmf_embeddings.datasets.open_benchmark import OpenBenchmark
    from vmf_embeddings.datasets.rows import Rows
    from vmf_embeddings.datasets.subset import Subset
    from vmf_embeddings.datasets.tars import Tars
    from vmf_embeddings.datasets.transforms import build_transform, evaluation_transform

__all__ = [
    "ArrayDataset",
    "ArraySplit",
    "Augmentation",
    "Cars196",
    "Cifar10",
    "Cifar100",
    "Cifar100LT",
    "Cifar10LT",
    "CsvTable",
    "Cub200",
    "Dataset",
    "Digits",
    "DigitsLT",
    "DigitsOpen",
    "FashionMNIST",
    "Features",
    "Folder",
    "INat2018",
    "INat2019",
    "ImageFileDataset",
    "ImageFileSplit",
    "ImageList",
    "ImageNet",
    "ImageNetLT",
    "ImageTransform",
    "InShop",
    "LabelledLists",
    "LongTailed",
    "MNIST",
    "MNISTOpen",
    "MnistLT",
    "Normalisation",
    "OpenBenchmark",
    "PlacesLT",
    "Recipe",
    "Rows",
    "Split",
    "StanfordOnlineProducts",
    "Subset",
    "Tars",
    "VectorSplit",
    "build_transform",
    "evaluation_transform",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "arrays": ("ArrayDataset", "ArraySplit"),
        "augment": ("Augmentation",),
        "augmentation_recipes": ("Recipe",),
        "base": ("Dataset", "Split"),
        "cifar": ("Cifar10", "Cifar100"),
        "csv_table": ("CsvTable",),
        "digits": ("Digits", "DigitsOpen"),
        "features": ("Features",),
        "features_split": ("VectorSplit",),
        "folder": ("Folder",),
        "image_file_split": ("ImageFileSplit",),
        "image_files": ("ImageFileDataset",),
        "image_list": ("Cars196", "Cub200", "ImageList", "StanfordOnlineProducts"),
        "image_transform": ("ImageTransform",),
        "imagenet": ("ImageNet",),
        "inshop": ("InShop",),
        "labelled_lists": ("INat2018", "INat2019", "ImageNetLT", "LabelledLists", "PlacesLT"),
        "long_tailed": ("LongTailed",),
        "long_tailed_sets": ("Cifar100LT", "Cifar10LT", "DigitsLT", "MnistLT"),
        "mnist": ("FashionMNIST", "MNIST", "MNISTOpen"),
        "normalisation": ("Normalisation",),
        "open_benchmark": ("OpenBenchmark",),
        "rows": ("Rows",),
        "subset": ("Subset",),
        "tars": ("Tars",),
        "transforms": ("build_transform", "evaluation_transform"),
    },
)
