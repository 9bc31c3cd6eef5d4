"""The list files of 2021, byte for byte."""

import hashlib

import pytest

from tests.datasets.archives import cars_files, cub_archive, sop_archive
from vmf_embeddings.datasets.prepare import cars196, cub200, sop
from vmf_embeddings.datasets.prepare.extract import extract
from vmf_embeddings.datasets.prepare.lists import list_bytes, validation_classes, write_lists
from vmf_embeddings.datasets.prepare.source import UserMistake

CARS = {29, 33, 36, 39, 40, 44, 54, 55, 57, 61, 62, 63, 78, 85, 92}
CUB = {27, 33, 35, 39, 40, 42, 56, 59, 61, 63, 68, 81, 85, 94, 98}


def test_validation_classes_are_those_of_2021():
    assert validation_classes(98, 15) == CARS
    assert validation_classes(100, 15) == CUB
    products = sorted(validation_classes(11318, 1698))
    assert products[:10] == [1, 2, 5, 6, 14, 18, 19, 25, 26, 43]
    joined = ",".join(map(str, products)).encode()
    assert hashlib.sha256(joined).hexdigest().startswith("7b1eb43fef8e2f19")


def test_choosing_leaves_the_global_generator_alone():
    import numpy as np

    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    validation_classes(98, 15)
    assert (np.random.get_state()[1] == state).all()


def test_cub_lines(tmp_path):
    extract(cub_archive(tmp_path / "cub.tgz", n_images=1), tmp_path)
    lists = cub200.read(tmp_path)
    expected = {
        "val": [n for n in range(100) if n in CUB],
        "train": [n for n in range(100) if n not in CUB],
        "test": range(100, 200),
    }
    for name, labels in expected.items():
        lines = [f"images/{n + 1:03d}.Bird_{n}/Bird_0.jpg,{n}" for n in labels]
        assert list_bytes(lists[name]) == "\n".join(lines).encode()


def test_cars_lines_keep_the_order_of_the_annotations(tmp_path):
    cars_files(tmp_path, n_images=392)
    lists = cars196.read(tmp_path)
    lines = [f"car_ims/{i + 1:06d}.jpg,{i % 196}" for i in range(392) if i % 196 in CARS]
    assert list_bytes(lists["val"]) == "\n".join(lines).encode()
    lines = [f"car_ims/{i + 1:06d}.jpg,{i % 196}" for i in range(392) if i % 196 >= 98]
    assert list_bytes(lists["test"]) == "\n".join(lines).encode()
    assert len(lists["train"]) == 2 * 83


def test_sop_lines(tmp_path):
    extract(sop_archive(tmp_path / "sop.zip"), tmp_path)
    lists = sop.read(tmp_path)
    valid = validation_classes(11318, 1698)
    for name, wanted in (("val", True), ("train", False)):
        labels = [n for n in range(0, 11318, 20) if (n in valid) == wanted]
        lines = [f"bicycle_final/{n + 1}_{i}.JPG,{n}" for n in labels for i in range(2)]
        assert list_bytes(lists[name]) == "\n".join(lines).encode()
    lines = [f"bicycle_final/{n + 1}_{i}.JPG,{n}" for n in range(11318, 22634, 20) for i in (0, 1)]
    assert list_bytes(lists["test"]) == "\n".join(lines).encode()


def test_the_lists_of_another_data_set_are_not_overwritten(tmp_path):
    (tmp_path / "val.txt").write_text("other.jpg,0")
    with pytest.raises(UserMistake, match="val.txt exists with other content"):
        write_lists(tmp_path, {"train": [("a.jpg", 0)], "val": [("b.jpg", 1)], "test": []})
    assert not (tmp_path / "train.txt").exists()


@pytest.mark.parametrize(
    ("module", "file", "content"),
    [
        (cub200, "CUB_200_2011/images.txt", b"1 no-number/x.jpg\n"),
        (cars196, "cars_annos.mat", b"<html>not found</html>"),
    ],
)
def test_malformed_tables_are_named(tmp_path, module, file, content):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(UserMistake, match=file):
        module.read(tmp_path)
