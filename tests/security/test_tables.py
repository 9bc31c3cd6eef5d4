"""Lists, tables and files of arrays from others: bounded, and no text that deceives or breaks."""

import gzip
import io
import json
import os
import pickle
import struct

import pytest
from scipy.io import savemat

from vmf_embeddings.datasets import mnist
from vmf_embeddings.datasets.cifar import Cifar10, read_binary
from vmf_embeddings.datasets.csv_lines import read_lines
from vmf_embeddings.datasets.folder import Folder
from vmf_embeddings.datasets.image_list import read_list
from vmf_embeddings.datasets.inshop import _read_partition
from vmf_embeddings.datasets.prepare import cars196, inaturalist, sop
from vmf_embeddings.datasets.prepare.source import UserMistake
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.untrusted import files
from vmf_embeddings.untrusted.refused import Refused

DECEIVING = ["a\x00.png", "a\x1b[2J.png", "a\x7f.png", "a\x9b31m.png"]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("path", DECEIVING)
def test_paths_with_control_characters_are_refused_wherever_they_come_from(tmp_path, path):
    with pytest.raises(ValueError, match="holds control characters"):
        Rows([f"good{i}.png" for i in range(3)] + [path], [0] * 4, tmp_path)


@pytest.mark.parametrize("column", ["label", "path", "split"])
def test_cells_with_control_characters_are_refused_by_their_line(tmp_path, column):
    cells = {"label": "cat", "path": "a.png", "split": "train", column: '"a\nb"'}
    table = write(tmp_path / "t.csv", "label,path,split\n" + ",".join(cells.values()))
    with pytest.raises(ValueError, match=f"t.csv line 3: {column} .* control characters"):
        read_lines(table)


@pytest.mark.parametrize("name", ["bell\x07", "two\nlines"])
def test_folders_whose_names_deceive_are_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    write(tmp_path / name / "a.png", b"x")
    folder = Folder(
        tmp_path, layout="auto", open_set=None, valid_share=0.1, test_share=0.1, image_size=8,
        augment="none", mean=(0, 0, 0), std=(1, 1, 1), margin_warmup_epochs=0,
        background="white", max_pixels=None, on_error="refuse",
    )  # fmt: skip
    with pytest.raises(ValueError, match="control characters"):
        folder.check()


@pytest.mark.parametrize("read", [read_list, read_lines, _read_partition, sop.read_table])
@pytest.mark.parametrize("kind", ["pipe", "device", "size"])
def test_lists_are_regular_files_of_a_size(tmp_path, monkeypatch, read, kind):
    path = tmp_path / "list"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        write(path, b"")
        os.truncate(path, 2**40)
    with pytest.raises(Refused, match="not a regular file|at most .* are read"):
        read(path)


@pytest.mark.parametrize("digits", [19, 30, 5000])
def test_labels_beyond_64_bits_are_refused_by_their_line(tmp_path, digits):
    path = write(tmp_path / "list", f"a.png,1\nb.png,{'9' * digits}\n")
    with pytest.raises(ValueError, match="list line 2"):
        read_list(path)
    path = write(tmp_path / "parts", f"1\nx\na.png id_{'9' * digits} train\n")
    with pytest.raises(ValueError, match="parts line 3"):
        _read_partition(path)
    path = write(tmp_path / "ebay", f"head\n1 {'9' * digits} 1 a.png\n")
    with pytest.raises(UserMistake, match="ebay"):
        sop.read_table(path)


def idx(*shape, content=b""):
    return b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}i", *shape) + content


@pytest.mark.parametrize("shape", [(2**31 - 1,) * 4, (10**9, 28, 28), (-1,), (-4, -1), (5,)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_headers_that_claim_other_than_what_is_there_are_refused(tmp_path, shape, pack):
    name = "x.gz" if pack is gzip.compress else "x"
    path = write(tmp_path / name, pack(idx(*shape, content=bytes(4))))
    with pytest.raises(ValueError, match="should hold"):
        mnist.read_idx(path)


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "FLOOR", 2**20)
    path = write(tmp_path / "x.gz", gzip.compress(idx(2**23, content=bytes(2**23))))
    with pytest.raises(ValueError, match="unpacks to more than"):
        mnist.read_idx(path)


@pytest.mark.parametrize("kind", ["pipe", "size"])
@pytest.mark.parametrize("read", [mnist.read_idx, lambda path: read_binary(path, 1)])
def test_arrays_are_read_from_regular_files_of_a_size(tmp_path, read, kind):
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        write(path, b"")
        os.truncate(path, 2**40)
    with pytest.raises(Refused, match=r"not a regular file|at most \d+ are read"):
        read(path)


class Payload:
    """A pickle that leaves a marker when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_pickles_in_the_place_of_cifars_are_not_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    payload = pickle.dumps(Payload(tmp_path / "marker"))
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        write(folder / name, payload)
    dataset = Cifar10(tmp_path, download=False, margin_warmup_epochs=0)
    with pytest.raises(FileNotFoundError, match="differ from the published ones"):
        dataset.split("train")
    assert not (tmp_path / "marker").exists()
    pickle.load(io.BytesIO(payload)).close()  # the payload is one
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_annotations_that_unpack_to_much_are_refused(tmp_path, packed):
    savemat(tmp_path / "cars_annos.mat", {"annotations": bytes(2**27)}, do_compression=packed)
    with pytest.raises(UserMistake, match="more than"):
        cars196.read(tmp_path)


def test_annotations_with_dimensions_that_nothing_fills_are_refused(tmp_path):
    savemat(tmp_path / "cars_annos.mat", {"annotations": {}})
    content = (tmp_path / "cars_annos.mat").read_bytes()
    found = content.index(struct.pack("<IIii", 5, 8, 1, 1))
    many = struct.pack("<IIii", 5, 8, 2**30, 2**30)
    write(tmp_path / "cars_annos.mat", content[:found] + many + content[found + 16 :])
    with pytest.raises(UserMistake, match="larger than the file"):
        cars196.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        json.dumps({"images": [{"id": 1, "file_name": "a"}], "annotations": [{}]}),
        '{"images": [{"id": 1, "file_name": "a"}],'
        ' "annotations": [{"image_id": 1, "category_id": Infinity}]}',
    ],
    ids=["deep", "keys", "infinite"],
)
def test_json_lists_that_break_are_refused_by_name(tmp_path, capsys, content):
    write(tmp_path / "train2018.json", content)
    assert inaturalist.main([str(tmp_path)]) == 2
    assert "train2018.json" in capsys.readouterr().err


def test_json_lists_cannot_add_lines(tmp_path, capsys):
    image = {"id": 1, "file_name": "a.jpg 0\nb.jpg"}
    rows = {"images": [image], "annotations": [{"image_id": 1, "category_id": 0}]}
    write(tmp_path / "train2018.json", json.dumps(rows))
    assert inaturalist.main([str(tmp_path)]) == 2
    assert "control characters" in capsys.readouterr().err
    assert not (tmp_path / "iNaturalist18_train.txt").exists()


def test_lines_end_alike_whoever_wrote_them(tmp_path):
    assert files.read_text(write(tmp_path / "a", b"\xef\xbb\xbfa\r\nb\rc\n")) == "a\nb\nc\n"
