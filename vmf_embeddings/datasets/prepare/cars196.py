"""Cars196 (Krause et al. 2013): 98 classes to train, 98 to test.

https://ai.stanford.edu/~jkrause/papers/3drr13.pdf
"""

from pathlib import Path

from vmf_embeddings.datasets.prepare.lists import by_class, validation_classes
from vmf_embeddings.datasets.prepare.source import Download, Lists, Source, UserMistake

N_TRAIN_CLASSES = 98
N_VALID_CLASSES = 15
ANNOTATIONS = "cars_annos.mat"
HOST = "http://imagenet.stanford.edu/internal/car196"


def read(path: Path) -> Lists:
    """Lists from `cars_annos.mat`: per image its path (field 0) and class, from 1 (field 5).

    Raises:
        UserMistake: if the file is not of that form.
    """
    from scipy.io import loadmat

    try:
        annotations = loadmat(path / ANNOTATIONS)["annotations"][0]
        labels = {str(row[0][0]): int(row[5][0][0]) - 1 for row in annotations}
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError, OSError) as error:
        raise UserMistake(
            f"{path / ANNOTATIONS} does not hold Cars196's annotations: {error!r}"
        ) from error
    valid = validation_classes(N_TRAIN_CLASSES, N_VALID_CLASSES)
    return by_class(labels.items(), N_TRAIN_CLASSES, valid)


CARS196 = Source(
    title="Cars196",
    config="cars196",
    downloads=(
        Download(ANNOTATIONS, f"{HOST}/{ANNOTATIONS}"),
        Download("car_ims.tgz", f"{HOST}/car_ims.tgz"),
    ),
    folder="",
    images="",
    marks=(ANNOTATIONS,),
    read=read,
)
