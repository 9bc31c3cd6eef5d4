"""Lists of iNaturalist 2018 and 2019 from their official JSON files.

Van Horn et al. 2018, https://arxiv.org/abs/1707.06642; the files train2018.json and val2018.json
(and those of 2019) are from https://github.com/visipedia/inat_comp; they are not changed.
"""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory

if __name__ == "__main__":
    leave_working_directory()  # before anything else is imported

import argparse  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

from vmf_embeddings import typed  # noqa: E402
from vmf_embeddings.datasets.prepare.lists import refuse_control  # noqa: E402
from vmf_embeddings.datasets.prepare.source import UserMistake  # noqa: E402
from vmf_embeddings.untrusted import json_text  # noqa: E402
from vmf_embeddings.untrusted.files import replacing  # noqa: E402
from vmf_embeddings.untrusted.text import printable  # noqa: E402

PARTS = ("train", "val")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the lists of a year beside its JSON files.

    Args:
        arguments: of the command line, without the name of the program; `sys.argv[1:]` if None.

    Returns:
        Exit code: 0, or 2 if the command must be changed.
    """
    parser = argparse.ArgumentParser(description="List the images of iNaturalist 2018 or 2019.")
    parser.add_argument("path", metavar="PATH", help="folder with trainYEAR.json and valYEAR.json")
    parser.add_argument("--year", type=int, default=2018, choices=(2018, 2019))
    options = parser.parse_args(arguments)
    folder = Path(options.path)
    try:
        for part in PARTS:
            rows = read_json(folder / f"{part}{options.year}.json")
            target = folder / f"iNaturalist{options.year % 100}_{part}.txt"
            write_list(target, rows)
            print(f"{target}: {len(rows)} images of {len({label for _, label in rows})} classes")
    except UserMistake as mistake:
        print(f"error: {printable(mistake)}", file=sys.stderr)
        return 2
    print(
        f"Next: python -m vmf_embeddings.main dataset=inat{options.year} "
        f"{typed.override('dataset.params.dataset_path', folder)} arch=resnet50 "
        "arch.params.first_conv_3x3=False"
    )
    return 0


def read_json(path: Path) -> list[tuple[str, int]]:
    """(path of the image, category) of every annotation, in the order of the file.

    Args:
        path: a JSON object with `images` (id, file_name) and `annotations` (image_id, category_id).

    Raises:
        UserMistake: the file is missing or has another form.
    """
    try:
        content = json_text.read_json(path)
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        return [(files[row["image_id"]], int(row["category_id"])) for row in content["annotations"]]
    except FileNotFoundError:
        raise UserMistake(
            f"{path} does not exist; unpack {path.name}.tar.gz of the competition there"
        ) from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserMistake(
            f"{path}: expected images with id and file_name, and annotations with image_id and "
            f"category_id, as the competition's files have them ({error!r})"
        ) from error


def write_list(path: Path, rows: Sequence[tuple[str, int]]) -> None:
    """Writes lines `path label`, to a temporary name first.

    Raises:
        UserMistake: a path contains control characters, which could add lines to the list.
    """
    refuse_control(file for file, _ in rows)
    with replacing(path) as temporary:
        lines = "".join(f"{file} {label}\n" for file, label in rows)
        temporary.write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
