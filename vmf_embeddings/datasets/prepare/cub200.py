"""CUB200-2011 (Wah et al. 2011): 100 training and 100 test classes.

https://www.vision.caltech.edu/datasets/cub_200_2011
"""

from pathlib import Path

from vmf_embeddings.datasets.prepare.lists import by_class, validation_classes
from vmf_embeddings.datasets.prepare.source import Download, Lists, Source, UserMistake
from vmf_embeddings.untrusted.files import read_text

N_TRAIN_CLASSES = 100
N_VALID_CLASSES = 15
ROOT = "CUB_200_2011"


def read(path: Path) -> Lists:
    """Reads `images.txt`, whose lines are `1 001.Black_footed_Albatross/x.jpg` (image 1, class 1).

    Args:
        path: folder that contains CUB_200_2011.

    Returns:
        (path, class 0..199) of the images of train, val and test.

    Raises:
        UserMistake: a line does not have that form.
    """
    table = path / ROOT / "images.txt"
    images = []
    for line in read_text(table).splitlines():
        try:
            image = line.split()[1]
            images.append((f"images/{image}", int(image.split(".")[0]) - 1))
        except (IndexError, ValueError) as error:
            raise UserMistake(
                f"{table}: expected lines 'number 001.Name/file.jpg', got {line!r}"
            ) from error
    valid = validation_classes(N_TRAIN_CLASSES, N_VALID_CLASSES)
    return by_class(images, N_TRAIN_CLASSES, valid)


CUB200 = Source(
    title="CUB200-2011",
    config="cub200",
    downloads=(
        Download(
            "CUB_200_2011.tgz",
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            md5="97eceeb196236b17998738112f37df78",
        ),
    ),
    folder=ROOT,
    images=ROOT,
    marker_files=(f"{ROOT}/images.txt",),
    read=read,
)
