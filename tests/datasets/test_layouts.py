"""The published folders of CUB200, Cars196 and SOP hold what 2021's list files say."""

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.archives import cars_files, cub_archive, sop_archive
from tests.datasets.benchmarks import build
from tests.datasets.images import smallest
from vmf_embeddings.datasets.prepare.cars196 import CARS196
from vmf_embeddings.datasets.prepare.command import main
from vmf_embeddings.datasets.prepare.cub200 import CUB200
from vmf_embeddings.datasets.prepare.sop import SOP

SPLITS = ("train", "valid", "test")
# capitals come before small letters: 98 models of "B …", then 98 of "a …"
CARS = [f"{'Ba'[i // 98]} {i % 98:03d}" for i in range(196)]


def prepare(source, folder, *archives):
    assert main(source, [str(folder), "--archive", *map(str, archives)]) == 0
    return folder


def copy(lists, images, place):
    """The images of the lists, each at `place(path, label)` below `images`."""
    for line in "\n".join(p.read_text() for p in lists.glob("*.txt")).splitlines():
        path, label = line.rsplit(",", 1)
        target = images / place(path, int(label))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(smallest())


def cub_both(root):
    lists = prepare(CUB200, root / "l", cub_archive(root / "c.tgz", n_images=4)) / "CUB_200_2011"
    (lists / "images.txt").rename(root / "images.txt")
    copy(lists, root / "cub200", lambda path, _: path)
    for left in ("._Bird_0.jpg", "._001.Bird_0/x.jpg", "001.Bird_0/._Bird_0_1.jpg"):
        path = root / "cub200" / "images" / left
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"macOS")
    return lists, root / "cub200"


def cars_both(root):
    lists = prepare(CARS196, root / "l", *cars_files(root, n_images=784))
    copy(lists, root / "cars196", lambda path, i: f"images/{CARS[i]}/{Path(path).name}")
    return lists, root / "cars196"


def sop_both(root):
    lists = prepare(SOP, root / "l", sop_archive(root / "s.zip"))
    copy(lists, root / "online_products" / "images", lambda path, _: path)
    info = root / "online_products" / "Info_Files"
    info.mkdir()
    for table in (lists / SOP.images).glob("Ebay_*.txt"):
        (info / table.name).write_bytes(table.read_bytes())
    return lists, root / "online_products"


@pytest.fixture(
    scope="module", params=[("cub200", cub_both), ("cars196", cars_both), ("sop", sop_both)]
)
def both(request, tmp_path_factory):
    """Name of a data set, its folder with lists and its folder without."""
    name, make = request.param
    return name, *make(tmp_path_factory.mktemp(name))


def contents(data, split):
    """Class and file name of every image."""
    rows = data.rows[split]
    found = sorted(zip(rows.labels.tolist(), [Path(f).name for f in rows.files], strict=True))
    assert len(set(found)) == len(found)
    return found


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"validation": "by_class", "valid_share": 0.2},
        {"validation": "by_class", "valid_share": 0.2, "valid_seed": None},
        {"validation": "by_sample", "valid_share": 0.5},
        {"validation": "by_sample", "valid_share": 0.5, "valid_seed": None},
        {"validation": "none"},
    ],
    ids=str,
)
def test_both_layouts_hold_the_same_images_classes_and_splits(both, params):
    name, lists, folders = both
    listed, found = build(name, lists, **params), build(name, folders, **params)
    assert (lists / "train.txt").exists() and not (folders / "train.txt").exists()
    listed.check(), found.check()
    assert listed.rows.keys() == found.rows.keys()
    for split in listed.rows:
        assert contents(listed, split) == contents(found, split)


def test_the_published_split(both):
    name, _, folders = both
    data = build(name, folders)
    counts = tuple(data.split(split).n_classes for split in SPLITS)
    if name == "sop":  # every 20th class
        assert sum(counts[:2]) == counts[2] == 566
    else:
        assert counts == {"cub200": (85, 15, 100), "cars196": (83, 15, 98)}[name]
    classes = [set(data.rows[split].labels.tolist()) for split in SPLITS]
    assert max(classes[0] | classes[1]) < min(classes[2])
    assert not classes[0] & classes[1]


def test_classes_are_called_by_their_folders_where_each_has_one(both):
    name, lists, folders = both
    splits = {
        "lists": build(name, lists).split("test"),
        "folders": build(name, folders).split("test"),
    }
    for layout, split in splits.items():
        if name == "sop" or (name, layout) == ("cars196", "lists"):  # one folder of many classes
            assert split.class_names is None
            continue
        called = [Path(path).parent.name for path in split.paths]
        assert called == [split.class_names[label] for label in split.labels.tolist()]
        assert len(set(split.class_names)) == split.n_classes


def test_the_folder_above_may_be_named(both):
    name, _, folders = both
    above, inside = build(name, folders.parent), build(name, folders)
    assert [above.split(s).paths for s in SPLITS] == [inside.split(s).paths for s in SPLITS]


def test_tables_keep_the_order_of_the_lists(tmp_path):
    lists, folders = sop_both(tmp_path)
    listed, found = build("sop", lists), build("sop", folders)
    assert all(listed.split(s).identity == found.split(s).identity for s in SPLITS)
    extracted = tmp_path / "as_extracted"
    extracted.mkdir()
    (lists / SOP.images).rename(extracted / SOP.images)
    assert build("sop", extracted).split("train").identity == found.split("train").identity


def test_whole_classes_are_held_out_by_share_and_seed(both):
    name, _, folders = both

    def held_out(seed):
        data = build(name, folders, valid_share=0.2, valid_seed=seed)
        return np.unique(data.rows["valid"].labels), np.unique(data.rows["train"].labels)

    valid, train = held_out(None)
    assert len(valid) == round(0.2 * (len(valid) + len(train)))
    assert train.max() < valid.min()
    (one, _), (other, left) = held_out(1), held_out(2)
    assert len(one) == len(other) == len(valid) and set(one) != set(other)
    assert not set(other) & set(left)


def test_images_of_every_class_are_held_out(both):
    name, _, folders = both
    data = build(name, folders, validation="by_sample", valid_share=0.5)
    train, valid = data.split("train"), data.split("valid")
    assert train.original_labels.unique().equal(valid.original_labels.unique())
    assert train.class_counts.equal(valid.class_counts)
    assert not set(train.paths) & set(valid.paths)


def test_without_validation_every_class_trains(both):
    name, _, folders = both
    data = build(name, folders, validation="none")
    usual = build(name, folders)
    assert len(data.split("train")) == len(usual.split("train")) + len(usual.split("valid"))
    with pytest.raises(ValueError, match="no images to choose the epoch by: add mode.select=test"):
        data.split("valid")


def test_an_image_or_a_class_in_two_splits_is_refused(tmp_path):
    for split, line in (("train", "a.jpg,0"), ("val", "b.jpg,1"), ("test", "c.jpg,2")):
        (tmp_path / f"{split}.txt").write_text(line)
    assert len(build("cars196", tmp_path).split("test")) == 1
    (tmp_path / "test.txt").write_text("a.jpg,2")
    with pytest.raises(ValueError, match=r"train and test share 1 image, such as .*a.jpg"):
        build("cars196", tmp_path).split("test")
    (tmp_path / "test.txt").write_text("c.jpg,1")
    with pytest.raises(ValueError, match="valid and test share 1 classes, such as 1"):
        build("cars196", tmp_path).split("test")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"validation": "by_clas"}, "validation must be one of by_class, by_sample, none"),
        ({"validation": "by_sample"}, "by_sample needs a fraction .*valid_share=0.2"),
        ({"valid_share": 1.0}, r"valid_share must lie in \(0, 1\), got 1.0"),
        ({"normalisation": "clipp"}, "Known: imagenet, clip, bninception"),
        ({"augment": "big"}, "augment=big is for images of 256 pixels, got 224; add"),
    ],
)
def test_wrong_params_are_refused_before_anything_is_read(tmp_path, params, message):
    with pytest.raises(ValueError, match=message):
        build("cub200", tmp_path, **params)


def test_a_copy_that_is_not_whole_is_refused(tmp_path):
    for i in range(3):
        (tmp_path / "images" / f"{i + 1:03d}.Bird").mkdir(parents=True)
    with pytest.raises(ValueError, match="has 3 class folders, and cub200 has 200"):
        build("cub200", tmp_path).check()


def test_birds_are_numbered_by_their_prefix(tmp_path):
    for i in range(200):
        image = tmp_path / "images" / f"{i + 1}.Bird" / "a.jpg"
        image.parent.mkdir(parents=True)
        image.write_bytes(smallest())
    rows = build("cub200", tmp_path).rows["test"]
    assert rows.files[0] == "images/101.Bird/a.jpg" and rows.labels[0] == 100
    (tmp_path / "images" / "7.Bird").rename(tmp_path / "images" / "Bird")
    with pytest.raises(ValueError, match=r"'Bird': expected names such as 001\.Black"):
        build("cub200", tmp_path).check()
