"""In-shop clothes retrieval of DeepFashion (Liu et al. 2016): queries look for gallery pictures.

https://openaccess.thecvf.com/content_cvpr_2016/html/Liu_DeepFashion_Powering_Robust_CVPR_2016_paper.html

`list_eval_partition.txt` holds the number of images, a line of column names, then lines
`image_name item_id evaluation_status`, the last of which is train, query or gallery.
"""

import re
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.image_files import Rows, refuse_escapes
from vmf_embeddings.datasets.open_benchmark import OpenBenchmark
from vmf_embeddings.untrusted.files import read_text

PARTITION = "list_eval_partition.txt"
ROLES = ("train", "query", "gallery")


class InShop(OpenBenchmark):
    """7,982 articles: 3,997 train; of the other 3,985, queries are sought in the gallery alone.

    The arguments are those of `OpenBenchmark`. There are no published validation classes; in valid
    every image asks and is searched.
    """

    name = "inshop"

    @property
    def partition(self) -> Path:
        """The list of all images.

        Raises:
            FileNotFoundError: it is in none of the usual folders.
        """
        places = [self.dataset_path / folder / PARTITION for folder in ("", "Eval")]
        for path in places:
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"{places[0]} does not exist. Say where DeepFashion's In-shop benchmark lies with "
            f"dataset=inshop dataset.params.dataset_path=PATH, where PATH holds {PARTITION}, or "
            f"Eval/{PARTITION}, and img/ or Img/img/"
        )

    def _read_parts(self) -> dict[str, Rows]:
        files, items, roles = _read_partition(self.partition)
        refuse_escapes(files, str(self.partition))
        every = Rows(
            files,
            items,
            self._root(files[0]),
            is_query=roles == "query",
            is_gallery=roles == "gallery",
        )
        for role in ROLES:
            if role not in roles:
                raise ValueError(f"{self.partition} has no {role} images")
        train, test = every.chosen(roles == "train"), every.chosen(roles != "train")
        return {"train": Rows(train.files, train.labels, train.root), "test": test}

    def _root(self, first: str) -> Path:
        """Where paths start: beside Eval/, or in Img/ there."""
        for root in (self.dataset_path, self.dataset_path / "Img"):
            if (root / first).exists():
                return root
        return self.dataset_path


def _read_partition(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, item numbers int64 [N] and roles [N] of every line after the first two."""
    files, items, roles = [], [], []
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines[2:], start=3):
        if not line.strip():
            continue
        words = line.split()
        item = re.fullmatch(r"(?:id_)?(\d{1,18})", words[1]) if len(words) == 3 else None
        if item is None or words[2] not in ROLES:
            raise ValueError(
                f"{path} line {number}: expected 'path id_00000001 {'|'.join(ROLES)}', got {line!r}"
            )
        files.append(words[0])
        items.append(int(item[1]))
        roles.append(words[2])
    stated = lines[0].strip()
    if stated != str(len(files)) or not files:
        raise ValueError(
            f"{path} says that it lists {stated!r} images, and lists {len(files)}: is it whole?"
        )
    return files, np.array(items, dtype=np.int64), np.array(roles)
