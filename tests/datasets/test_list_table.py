"""Long lists as columns: equal to what reading line by line gives, and read once."""

import errno
import os
import pickle

import numpy as np
import pytest
import torch

from tests.datasets.images import draw
from tests.datasets.test_labelled_lists import lists
from vmf_embeddings.datasets import column_cache, labelled_lists, list_table, rows
from vmf_embeddings.datasets.base import identity_of
from vmf_embeddings.datasets.image_list import read_list_lines
from vmf_embeddings.datasets.list_table import read_list_table
from vmf_embeddings.datasets.text_hashes import hashes_of

ODD = (
    "\ufeff/a/b c.jpg 3\n\n  \n x.png\tcat \r\nä/日本.jpg  7\u3000\n"
    "/ / y..z/1.jpg 3\r\n../out.jpg cat\ra.jpg 3\n   \n\n b.jpg   dog"
)
PLAIN = "".join(f"folder {i % 7}/{i}.jpg {i * i % 11}\n" for i in range(1000))


@pytest.fixture(params=["in memory", "cached"])
def way(request, monkeypatch, tmp_path):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    if request.param == "cached":
        monkeypatch.setattr(list_table, "LONG", 0)
    return request.param


def written(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("chunk", [1, 7, 64, 2**21])
@pytest.mark.parametrize("text", [ODD, PLAIN, "a.jpg 1", "a.jpg 1\n\n"])
@pytest.mark.usefixtures("way")
def test_columns_are_what_reading_line_by_line_gives(tmp_path, monkeypatch, text, chunk):
    monkeypatch.setattr(list_table, "_CHUNK", chunk)
    path = written(tmp_path, text)
    found, lines = read_list_table(path, None), read_list_lines(path, None)
    assert list(found.files) == [found.files[i] for i in range(len(found.files))] == lines.files
    assert [found.words[code] for code in found.codes] == lines.labels
    places = [found.place(row) for row in range(len(lines.files))]
    assert places == [lines.place(row) for row in range(len(lines.files))]
    assert [lines.files[row] for row in found.dotted] == [f for f in lines.files if ".." in f]


@pytest.mark.usefixtures("way")
def test_commas_separate_paths_with_spaces(tmp_path):
    path = written(tmp_path, "a b,c.jpg,1\n/d.jpg, x \n")
    found, lines = read_list_table(path, ","), read_list_lines(path, ",")
    assert (list(found.files), found.words) == (lines.files, ["1", "x"])


@pytest.mark.parametrize(
    "text", ["a.jpg 1\nb.jpg\n", "a.jpg 1\n\n/ 3\n", "a.jpg b.jpg", "\n \n", ""]
)
@pytest.mark.usefixtures("way")
def test_errors_are_those_of_reading_line_by_line(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        read_list_lines(path, None)
    with pytest.raises(ValueError) as came:  # noqa: PT011
        read_list_table(path, None)
    assert str(came.value) == str(expected.value)


@pytest.mark.parametrize(
    ("content", "words"), [(b"a\x07.jpg 1\n", "control characters"), (b"\xff.jpg 1", "not UTF-8")]
)
@pytest.mark.usefixtures("way")
def test_what_is_no_list_is_refused_and_nothing_stays_in_the_cache(tmp_path, content, words):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_list_table(tmp_path / "list.txt", None)
    assert not [*(tmp_path / "cache").rglob("*.*")]


def test_a_cached_list_is_read_once_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_table, "LONG", 0)
    path = written(tmp_path, PLAIN)
    first = read_list_table(path, None)

    def parsed(*of):
        raise AssertionError("parsed again")

    with monkeypatch.context() as patched:
        patched.setattr(list_table, "_parse", parsed)
        os.utime(path, (1, 1))
        again = read_list_table(path, None)
        assert list(again.files) == list(first.files)
        path.write_text(PLAIN.replace("folder 1/", "folder 9/"))
        with pytest.raises(AssertionError, match="parsed again"):
            read_list_table(path, None)
    assert list(read_list_table(path, None).files) != list(first.files)


@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
@pytest.mark.parametrize("column", ["paths", "ends", "codes", "hashes", "words.json"])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, column, damage):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_table, "LONG", 0)
    path = written(tmp_path, PLAIN)
    first = read_list_table(path, None)
    files, values = list(first.files), [first.codes.tolist(), first.hashes.tolist()]
    (damaged,) = (tmp_path / "cache").rglob(column)
    damaged.write_bytes(damaged.read_bytes()[: -3 if damage == "cut" else 0])
    if damage == "missing":
        damaged.unlink()
    again = read_list_table(path, None)
    assert list(again.files) == files
    assert [again.codes.tolist(), again.hashes.tolist()] == values
    assert again.words == first.words


def test_a_cache_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_table, "LONG", 0)
    assert len(read_list_table(written(tmp_path, PLAIN), None).files) == 1000


def test_a_full_disk_is_named_with_the_cache_and_nothing_stays_there(tmp_path, monkeypatch):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))

    def parse(sinks):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device: .*cache"):
        column_cache.columns_of("name", {"ends": "<u4", "codes": "<i4"}, parse)
    assert not [*(tmp_path / "cache" / "lists").iterdir()]


@pytest.mark.usefixtures("way")
def test_the_hash_of_a_split_is_that_of_its_joined_paths(tmp_path):
    files = read_list_table(written(tmp_path, PLAIN), None).files
    rng = np.random.default_rng(0)
    masks = [rng.random(1000) < share for share in (0.02, 0.5, 0.97)]
    for chosen in (files, *(files.chosen(mask) for mask in masks), files[3:40:5], files[::-1]):
        assert identity_of(["x", chosen]) == identity_of(["x", "\n".join(chosen)])
        assert pickle.loads(pickle.dumps(chosen))[-1] == chosen[len(chosen) - 1]  # noqa: S301
    twice = files.chosen(masks[1]).chosen(np.arange(5))
    assert list(twice) == [path for path, kept in zip(files, masks[1], strict=True) if kept][:5]
    assert list(files.below("/r")[:3]) == [f"/r/{file}" for file in list(files)[:3]]


def test_hashes_of_paths_do_not_depend_on_their_place():
    content = np.frombuffer(b"ab\nb\nab\n\nba\nb\n", np.uint8)
    found = hashes_of(content, np.flatnonzero(content == 10)).tolist()
    assert found[0] == found[2]
    assert found[1] == found[5]
    assert len(set(found)) == 4


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    for part, n in (("train", 20), ("val", 6), ("test", 6)):
        lines = []
        for i in range(n):
            path = f"{part}/kind {i % 3}/{i}.jpg"
            draw(tmp_path / path, seed=i, label=i % 3, size=(20, 20))
            lines.append(f"{path} kind-{i % 3}\n")
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def all_is_long(monkeypatch):
    monkeypatch.setattr(labelled_lists, "LONG", 0)
    monkeypatch.setattr(list_table, "LONG", 0)
    monkeypatch.setattr(rows, "MOST_LOOKED_AT", 5)


@pytest.mark.parametrize("valid_list", ["val.txt", None])
def test_long_lists_give_the_splits_and_images_of_short_ones(root, monkeypatch, valid_list):
    short = lists(root, valid_list=valid_list)
    splits = {
        name: short.split(name, augment=name == "train") for name in ("train", "valid", "test")
    }
    monkeypatch.setattr(labelled_lists, "LONG", 0)
    monkeypatch.setattr(list_table, "LONG", 0)
    long = lists(root, valid_list=valid_list)
    long.check()
    for name, expected in splits.items():
        split = long.split(name, augment=name == "train")
        assert split.identity == expected.identity
        assert not isinstance(split.paths, list)
        assert list(split.paths) == expected.paths
        assert torch.equal(split.labels, expected.labels)
        assert split.class_names == expected.class_names
        for index in (0, len(split) - 1):
            torch.manual_seed(5)
            one = split[index]
            torch.manual_seed(5)
            other = expected[index]
            assert torch.equal(one.pop("examples"), other.pop("examples"))
            assert one == other


@pytest.mark.usefixtures("all_is_long")
def test_of_long_lists_some_files_are_looked_at_and_the_log_says_so(root, caplog):
    caplog.set_level("INFO")
    data = lists(root)
    (root / "train/kind 1/1.jpg").unlink()  # of 20 rows, each fourth is looked at
    data.check()
    assert "Of 20 train images, 5 at equal distances are looked at" in caplog.text
    (root / "train/kind 1/4.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 train images does not exist.*4.jpg"):
        lists(root).check()


@pytest.mark.usefixtures("all_is_long")
def test_a_path_in_two_long_lists_or_under_two_labels_is_refused(root):
    with (root / "test.txt").open("a") as stream:
        stream.write("train/kind 2/5.jpg kind-2\n")
    with pytest.raises(ValueError, match=r"train and test share 1 image, such as .*5.jpg"):
        lists(root).check()
    (root / "test.txt").write_text("test/kind 0/0.jpg kind-0\ntest/kind 0/0.jpg kind-1\n")
    with pytest.raises(ValueError, match="1 image with two labels"):
        lists(root).check()


@pytest.mark.usefixtures("all_is_long")
def test_paths_of_long_lists_that_lead_out_are_refused(root):
    with (root / "train.txt").open("a") as stream:
        stream.write("../secret.jpg kind-2\n")
    with pytest.raises(ValueError, match="leads out of the data set's folder"):
        lists(root).check()
