"""Lists from iNaturalist's JSON files, read back by the data set."""

import json

import pytest

from vmf_embeddings.datasets.image_list import read_list
from vmf_embeddings.datasets.prepare.inaturalist import main

IMAGES = [{"id": 30, "file_name": "train_val2018/Aves/2/a b.jpg"}]
IMAGES += [{"id": 10, "file_name": "train_val2018/Fungi/7/c.jpg"}]
ROWS = [{"id": 0, "image_id": 10, "category_id": 7}, {"id": 1, "image_id": 30, "category_id": 2}]


def write(folder, year=2018, images=IMAGES, rows=ROWS):
    for part in ("train", "val"):
        content = {"info": {}, "images": images, "annotations": rows}
        (folder / f"{part}{year}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("year", [2018, 2019])
def test_every_annotation_becomes_a_line(tmp_path, capsys, year):
    write(tmp_path, year)
    assert main([str(tmp_path), "--year", str(year)]) == 0
    for part in ("train", "val"):
        path = tmp_path / f"iNaturalist{year % 100}_{part}.txt"
        files, labels = read_list(path, separator=None)
        assert files == ["train_val2018/Fungi/7/c.jpg", "train_val2018/Aves/2/a b.jpg"]
        assert labels.tolist() == [7, 2]
    said = capsys.readouterr().out
    assert "2 images of 2 classes" in said
    assert f"dataset=inat{year}" in said


def test_a_missing_file_and_another_form_are_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "train2018.json does not exist; unpack" in capsys.readouterr().err
    write(tmp_path, rows=[{"id": 0}])
    assert main([str(tmp_path)]) == 2
    assert "expected images with id and file_name" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.txt*"))
