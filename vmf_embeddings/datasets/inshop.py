"""In-shop clothes retrieval of DeepFashion (Liu et al. 2016), with separate query and gallery.

https://openaccess.thecvf.com/content_cvpr_2016/html/Liu_DeepFashion_Powering_Robust_CVPR_2016_paper.html

`list_eval_partition.txt` contains the number of images, a line of column names, then lines
`image_name item_id evaluation_status`; the status is train, query or gallery.
"""

import re
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.open_benchmark import OpenBenchmark
from vmf_embeddings.datasets.rows import Rows, refuse_escapes
from vmf_embeddings.untrusted.files import read_text

PARTITION = "list_eval_partition.txt"
ROLES = ("train", "query", "gallery")


class InShop(OpenBenchmark):
    """7,982 articles: 3,997 are train; images of the other 3,985 are either query or gallery.

    The arguments are those of `OpenBenchmark`. There are no published validation classes; in valid
    every image is both query and gallery.
    """

    name = "inshop"

    @property
    def partition(self) -> Path:
        """The list of all images.

        Raises:
            FileNotFoundError: it is neither in `dataset_path` nor in its folder Eval.
        """
        locations = [self.dataset_path / folder / PARTITION for folder in ("", "Eval")]
        for path in locations:
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"{locations[0]} does not exist. Say where DeepFashion's In-shop benchmark lies with "
            f"dataset=inshop dataset.params.dataset_path=PATH, where PATH holds {PARTITION}, or "
            f"Eval/{PARTITION}, and img/ or Img/img/"
        )

    def _read_parts(self) -> dict[str, Rows]:
        files, items, roles = _read_partition(self.partition)
        refuse_escapes(files, str(self.partition))
        all_rows = Rows(
            files,
            items,
            self._root(files[0]),
            is_query=roles == "query",
            is_gallery=roles == "gallery",
        )
        for role in ROLES:
            if role not in roles:
                raise ValueError(f"{self.partition} has no {role} images")
        train, test = all_rows.chosen(roles == "train"), all_rows.chosen(roles != "train")
        return {"train": Rows(train.files, train.labels, train.root), "test": test}

    def _root(self, first: str) -> Path:
        """The folder that paths start from: `dataset_path` or its folder Img."""
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
            f"{path} states {stated!r} images in its first line, but lists {len(files)}: is it "
            "complete?"
        )
    return files, np.array(items, dtype=np.int64), np.array(roles)
