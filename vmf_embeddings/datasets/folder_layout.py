"""What the folders below a data set's folder are: splits, classes, or neither."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.datasets.folder_scan import (
    PassedOver,
    has_pictures,
    pictures_below,
    pictures_in,
    subfolders,
)
from vmf_embeddings.datasets.split_names import looks_like_split, names_of_splits
from vmf_embeddings.embeddings.names import SPLIT_WORDS, canonical_split

LAYOUTS = ("auto", "classes")
_AS_CLASSES = "to take every folder as a class: dataset.params.layout=classes"
_RENAME = "rename it to train, valid or test"


@dataclass(frozen=True)
class FolderLayout:
    """The class folders of a data set.

    Attributes:
        files: split (or "" where there are no split folders) -> class -> sorted paths below the
            data set's folder; no split and no class is empty.
        folders: split -> name of its folder; empty where there are no split folders.
        passed_over: what was left out.
    """

    files: dict[str, dict[str, list[str]]]
    folders: dict[str, str]
    passed_over: PassedOver


def read_layout(root: Path, layout: str = "auto") -> FolderLayout:
    """Finds `root/<split>/<class>/<image>` or `root/<class>/<image>`.

    Folders named by a split, in any case (`embeddings.names.SPLIT_WORDS`), are splits if they hold
    class folders. Class folders may have subfolders.

    Args:
        root: an existing folder.
        layout: "auto"; or "classes" = every folder is a class, whatever it is called.

    Raises:
        ValueError: a folder looks like a split and would not be taken as one, two folders are one
            split, there is no train among them, or a folder lies beside them that is no split.
    """
    passed_over = PassedOver()
    passed_over.loose += pictures_in(root, passed_over)
    children = subfolders(root)
    if layout == "auto":
        splits = [name for name in children if canonical_split(name)]
        if any(_has_class_folders(root / name) for name in splits):
            return _of_splits(root, children, passed_over)
        _refuse_unlabelled(root, children, splits)
        all_near = all(map(_is_near_split, children))
        for name in children:
            _refuse_hidden_split(root, name, all_near=all_near)
        _refuse_pair_of_splits(root, children)
    files = _by_class(root, "", passed_over)
    if layout == "auto":
        _refuse_outer_folder(root, list(files))
        passed_over.same_inside += _same_inside(root, list(files))
    return FolderLayout({"": files} if files else {}, {}, passed_over)


def _of_splits(root: Path, children: Sequence[str], passed_over: PassedOver) -> FolderLayout:
    folders: dict[str, str] = {}
    files = {}
    for name in children:
        split = canonical_split(name)
        if split is None:
            _refuse_beside_splits(root, name, passed_over)
            continue
        of_split = PassedOver()
        found = _by_class(root, name, of_split)
        if not found and not (loose := pictures_in(root / name)):
            passed_over.empty.append(name)
            continue
        if split in folders:
            raise ValueError(
                f"{root}: the folders {folders[split]} and {name} both name the {split} split; "
                "put all images of a split into one folder"
            )
        folders[split] = name
        if not found:
            passed_over.unlabelled[name] = len(loose)
            continue
        _take_over(passed_over, of_split)
        passed_over.loose += [os.path.join(name, each) for each in pictures_in(root / name)]
        files[split] = found
    if "train" not in files:
        raise ValueError(
            f"{root} has no train folder with images in class folders, only "
            f"{', '.join(folders.values())}. Expected {root}/train/<class>/<image>; {_AS_CLASSES}"
        )
    return FolderLayout(files, {s: f for s, f in folders.items() if s in files}, passed_over)


def _take_over(into: PassedOver, of_split: PassedOver) -> None:
    into.by_ending += of_split.by_ending
    into.empty += of_split.empty
    into.linked += of_split.linked


def classes_below(root: Path, split: str) -> dict[str, list[str]]:
    """Class folder of `root/split` -> sorted paths, relative to `root`, of its images."""
    return _by_class(root, split, PassedOver())


def _by_class(root: Path, split: str, passed_over: PassedOver) -> dict[str, list[str]]:
    """Class -> its images; class folders without one are noted."""
    if split:
        pictures_in(root / split, passed_over)  # counts the others
    classes = {}
    for name in subfolders(root / split):
        files = pictures_below(root, os.path.join(split, name), passed_over)
        if files:
            classes[name] = files
        else:
            passed_over.empty.append(os.path.join(split, name))
    return classes


def _has_class_folders(folder: Path) -> bool:
    return any(has_pictures(folder / name) for name in subfolders(folder))


def _refuse_beside_splits(root: Path, name: str, passed_over: PassedOver) -> None:
    """Refuses a folder with images beside split folders; an empty one is passed over."""
    if not has_pictures(root / name):
        passed_over.empty.append(name)
        return
    what = "looks like a split but is not named as one" if _is_near_split(name) else "is no split"
    raise ValueError(
        f"{root}: the folder {name} lies beside split folders and {what}. If it is one, {_RENAME} "
        f"(known: {', '.join(SPLIT_WORDS)}); else move it away, or, {_AS_CLASSES}"
    )


def _refuse_unlabelled(root: Path, children: Sequence[str], splits: Sequence[str]) -> None:
    """Refuses folders with the names of splits that hold images, but no class folders."""
    flat = [name for name in splits if pictures_in(root / name)]
    if flat:
        raise ValueError(
            f"{root}: the folder {flat[0]} looks like a split, but its images lie in no class "
            f"folders. Expected {root}/{flat[0]}/<class>/<image>; or, {_AS_CLASSES}"
        )


def _refuse_hidden_split(root: Path, name: str, *, all_near: bool) -> None:
    """Refuses a folder that looks like a split, or has split folders inside.

    Args:
        root: folder of the data set.
        name: a folder in it.
        all_near: whether all its folders are called nearly like splits, such as `trian`.
    """
    folder = root / name
    if looks_like_split(name) or (all_near and _has_class_folders(folder)):
        if has_pictures(folder):
            raise ValueError(
                f"{root}: the folder {name} looks like a split and would be taken for a class. If "
                f"it is a split, {_RENAME}; or, {_AS_CLASSES}"
            )
    for inner in subfolders(folder):
        if canonical_split(inner) and has_pictures(folder / inner):
            raise ValueError(
                f"{root}: the folder {name} would be taken for a class, but holds the split folder "
                f"{inner}. Expected {root}/{inner}/{name}/<image>, or "
                f"{typed.override('dataset.params.dataset_path', folder)} if {name} is the data "
                f"set; or, {_AS_CLASSES}"
            )


def _refuse_pair_of_splits(root: Path, children: Sequence[str]) -> None:
    """Refuses folders with images whose names differ in the word for a split alone."""
    pair = names_of_splits([name for name in children if has_pictures(root / name)])
    if pair:
        raise ValueError(
            f"{root}: the folders {pair[0]} and {pair[1]} look like splits and would be taken for "
            f"classes. If they are splits, rename them to train, valid or test, with a folder per "
            f"class inside; or, {_AS_CLASSES}"
        )


def _refuse_outer_folder(root: Path, classes: Sequence[str]) -> None:
    """Refuses a single folder that holds folders of images, and no images beside them."""
    if len(classes) != 1:
        return
    inner = [
        name for name in subfolders(root / classes[0]) if has_pictures(root / classes[0] / name)
    ]
    if len(inner) > 1 and not pictures_in(root / classes[0]):
        path = typed.override("dataset.params.dataset_path", root / classes[0])
        raise ValueError(
            f"{root}: the folder {classes[0]} would be the only class, and holds the folders "
            f"{', '.join(inner[:3])}{' …' if len(inner) > 3 else ''}. If these are the classes: "
            f"{path}; or, {_AS_CLASSES}"
        )


def _same_inside(root: Path, classes: Sequence[str]) -> list[str]:
    """Names of folders with images that every class folder holds; empty where images lie beside."""
    shared: set[str] | None = None
    for name in classes:
        if pictures_in(root / name):
            return []
        inner = {n for n in subfolders(root / name) if has_pictures(root / name / n)}
        shared = inner if shared is None else shared & inner
    return sorted(shared or ()) if len(shared or ()) > 1 and len(classes) > 1 else []


def _is_near_split(name: str) -> bool:
    """Whether a name contains the word for a split, or is one with a slip of the pen."""
    word = name.lower()
    slips = difflib.get_close_matches(word, SPLIT_WORDS, n=1, cutoff=0.8)
    swapped = any(sorted(word) == sorted(known) for known in SPLIT_WORDS)
    return looks_like_split(name) or bool(slips) or swapped
