"""Stanford Online Products (Song et al. 2016): 11,318 training and 11,316 test classes.

https://arxiv.org/abs/1511.06452
"""

from pathlib import Path

from vmf_embeddings.datasets.prepare.lists import validation_classes
from vmf_embeddings.datasets.prepare.source import Download, Lists, Source, UserMistake
from vmf_embeddings.untrusted.files import read_text

N_TRAIN_CLASSES = 11318
N_VALID_CLASSES = 1698
_LONGEST_NUMBER = 18  # digits of a class number; fits into 64 bits
ROOT = "Stanford_Online_Products"


def read(path: Path) -> Lists:
    """Reads `Ebay_train.txt` and `Ebay_test.txt`.

    Args:
        path: folder that contains Stanford_Online_Products.

    Returns:
        (path below Stanford_Online_Products, class from 0) of the images of train, val and test.

    Raises:
        UserMistake: a line does not have the published form.
    """
    valid = validation_classes(N_TRAIN_CLASSES, N_VALID_CLASSES)
    train = read_table(path / ROOT / "Ebay_train.txt")
    return {
        "train": [image for image in train if image[1] not in valid],
        "val": [image for image in train if image[1] in valid],
        "test": read_table(path / ROOT / "Ebay_test.txt"),
    }


def read_table(table: Path) -> list[tuple[str, int]]:
    """(path, class from 0) of each line `image_id class_id super_class_id path`, without header."""
    images = []
    for line in read_text(table).splitlines()[1:]:
        try:
            _, label, _, path = line.split()
            if len(label) > _LONGEST_NUMBER:
                raise ValueError(label)
            images.append((path, int(label) - 1))
        except ValueError as error:
            raise UserMistake(
                f"{table}: expected 'image_id class_id super_class_id path', got {line!r}"
            ) from error
    return images


SOP = Source(
    title="Stanford Online Products",
    config="sop",
    downloads=(
        Download(
            f"{ROOT}.zip",
            f"ftp://cs.stanford.edu/cs/cvgl/{ROOT}.zip",
            md5="7f73d41a2f44250d4779881525aea32e",
        ),
    ),
    folder="",
    images=ROOT,
    marker_files=(f"{ROOT}/Ebay_train.txt", f"{ROOT}/Ebay_test.txt"),
    read=read,
)
