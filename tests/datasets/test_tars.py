"""Images in tars are those of the same list of files, item for item; hostile tars are refused."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.images import draw
from tests.datasets.test_labelled_lists import IMAGES, lists
from vmf_embeddings.datasets import labelled_lists, tar_table
from vmf_embeddings.datasets.prepare import tars as writer
from vmf_embeddings.datasets.tars import Tars
from vmf_embeddings.samplers.blocks import BlocksSampler
from vmf_embeddings.samplers.random import RandomSampler
from vmf_embeddings.training.batches import TrainBatches
from vmf_embeddings.untrusted.image_headers import probe
from vmf_embeddings.untrusted.images import read_image
from vmf_embeddings.untrusted.members import MemberPath, open_file
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tar_members import members_of_tar

PARTS = {"train": 23, "val": 6, "test": 7}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VMF_CACHE", str(tmp_path / "cache"))
    for part, n in PARTS.items():
        lines = []
        for i in range(n):
            path = f"my {part}/kind {i % 3}/{i}.{'png' if i % 4 else 'v1.jpg'}"
            draw(tmp_path / path, seed=i, label=i % 3, size=(20, 20))
            lines.append(f"{path} kind-{i % 3}\n")
        (tmp_path / f"{part}.txt").write_text("".join(lines))
        arguments = [str(tmp_path / f"{part}.txt"), str(tmp_path / "tars"), "--size", "10KB"]
        assert writer.main(arguments) == 0
    return tmp_path


def tars(root, **changes):
    params = {"train_tars": "train-*.tar", "valid_tars": "val-*.tar", "test_tars": "test-*.tar"}
    params |= {"valid_share": 0.25, "views": 1, "margin_warmup_epochs": 0} | IMAGES
    return Tars(root / "tars", **params | changes)


def same_splits(one, other):
    for name in ("train", "valid", "test"):
        split, expected = one.split(name), other.split(name)
        assert torch.equal(split.labels, expected.labels)
        assert split.class_names == expected.class_names
        for index in range(len(expected)):
            assert torch.equal(split[index]["examples"], expected[index]["examples"])


@pytest.mark.parametrize("way", ["short", "long"])
@pytest.mark.parametrize("held_out", [False, True])
def test_splits_are_those_of_the_list_of_the_same_images(root, monkeypatch, held_out, way):
    expected = lists(root, **({"valid_list": None} if held_out else {}))
    assert len(list((root / "tars").glob("train-*.tar"))) > 2
    if way == "long":
        monkeypatch.setattr(labelled_lists, "LONG", 0)
        monkeypatch.setattr(tar_table, "LONG", 0)
    data = tars(root, **({"valid_tars": None} if held_out else {}))
    data.check()
    same_splits(data, expected)
    again = tars(root, **({"valid_tars": None} if held_out else {}))
    assert again.split("train").identity == data.split("train").identity
    assert bool([*(root / "cache").rglob("words.json")]) == (way == "long")


def batches_of(data, seed=3, **place):
    split = data.split("train", augment=True)
    sampler = RandomSampler(split.labels, batch_size=8, seed=seed)
    return TrainBatches(split, sampler, seed=seed, num_workers=0, **place)


def test_augmented_batches_are_equal_pixel_for_pixel_also_from_the_middle(root):
    one, other = batches_of(tars(root)), batches_of(lists(root))
    for epoch in (0, 1):
        for (batch, _), (expected, _) in zip(one.epoch(epoch), other.epoch(epoch), strict=True):
            assert batch.keys() == expected.keys()
            assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_the_blocks_of_a_split_are_its_tars(root):
    split = tars(root, valid_tars=None).split("train")
    names = [path.split("/tars/")[1].split("/")[0] for path in split.paths]
    numbers = {name: int(name[6:11]) for name in names}
    assert split.blocks.tolist() == [numbers[name] for name in names]
    assert len(numbers) > 2
    assert lists(root).split("train").blocks is None


@pytest.mark.parametrize("world", [1, 2, 3])
def test_batches_by_blocks_resume_at_any_step_and_are_divided_among_processes(root, world):
    whole = [batch for batch, _ in by_blocks(root).epoch(1)]
    for rank in range(world):
        straight = [batch for batch, _ in by_blocks(root, rank=rank, world=world).epoch(1)]
        for first in (0, 2, len(straight)):
            rest = [batch for batch, _ in by_blocks(root, rank=rank, world=world).epoch(1, first)]
            assert len(rest) == len(straight) - first
            for batch, expected in zip(rest, straight[first:], strict=True):
                assert torch.equal(batch["examples"], expected["examples"])
        for batch, expected in zip(straight, whole, strict=True):
            assert torch.equal(batch["examples"], expected["examples"][rank::world])


def by_blocks(root, **place):
    split = tars(root).split("train", augment=True)
    sampler = BlocksSampler(split.labels, batch_size=6, window=2, within="shuffled", seed=3)
    sampler.set_blocks(split.blocks)
    return TrainBatches(split, sampler, seed=3, num_workers=0, **place)


def test_items_of_processes_that_are_not_forked_are_the_same(root):
    split = tars(root).split("train")
    other = pickle.loads(pickle.dumps(split))  # noqa: S301
    assert torch.equal(split[5]["examples"], other[5]["examples"])


def test_names_that_differ_after_the_first_dot_stay_apart(tmp_path):
    for name in ("a.x.jpg", "a.y.jpg", "a.png"):
        draw(tmp_path / name, seed=len(name) + ord(name[2]), label=0, size=(8, 8))
    (tmp_path / "l.txt").write_text("a.x.jpg 1\na.y.jpg 2\na.png 3\n")
    assert writer.main([str(tmp_path / "l.txt"), str(tmp_path / "out")]) == 0
    table = tar_table.read_tar_table([tmp_path / "out/l-00000.tar"], tmp_path / "out")
    assert table.words == ["1", "2", "3"]
    for file, name in zip(table.files.below(str(tmp_path / "out")), ("a.x.jpg", "a.y.jpg", "a.png"),
                          strict=True):  # fmt: skip
        with open_file(file) as stream:
            assert stream.read() == (tmp_path / name).read_bytes()
        assert np.array_equal(np.asarray(read_image(file)), np.asarray(read_image(tmp_path / name)))


def packed(path, members, **how):
    """A tar of (name, content) or of `TarInfo`s."""
    with tarfile.open(path, "w", **how) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def picture():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 8, 7)).save(stream, "PNG")
    return stream.getvalue()


def test_labels_stand_in_cls_or_json_and_other_members_are_passed_over(tmp_path):
    members = [
        ("a/1.png", picture()), ("a/1.cls", b" 7\n"), ("a/2.txt", b"caption"),
        ("a/2.JSON", b'{"label": "8"}'), ("a/2.png", picture()), ("a/2.seg.png", picture()),
        ("readme.md", b"hello"),
    ]  # fmt: skip
    table = tar_table.read_tar_table([packed(tmp_path / "x.tar", members)], tmp_path)
    assert list(table.files) == ["x.tar/a/1.png", "x.tar/a/2.png"]
    assert [table.words[code] for code in table.codes] == ["7", "8"]


def linked(kind, target):
    info = tarfile.TarInfo("1.png")
    info.type, info.linkname = kind, target
    return info


def named(name):
    return [(name, picture()), ("1.cls", b"7")]


HOSTILE = {
    "a symbolic link": ([linked(tarfile.SYMTYPE, "/etc/passwd")], "is a link"),
    "a hard link": ([linked(tarfile.LNKTYPE, "0.png")], "is a link"),
    "a pipe": ([linked(tarfile.FIFOTYPE, "")], "no regular file"),
    "a device": ([linked(tarfile.CHRTYPE, "")], "no regular file"),
    "an absolute name": (named("/etc/1.png"), "relative paths"),
    "a name that leads out": (named("a/../../1.png"), "relative paths"),
    "a drive": (named("C:\\1.png"), "relative paths"),
    "control characters": (named("a\x1b[2J.png"), "relative paths"),
    "no label": ([("1.png", picture())], "1.png has no label"),
    "an empty label": ([("1.png", picture()), ("1.cls", b" ")], "label of 1.png is ''"),
    "a label of two lines": ([("1.png", picture()), ("1.cls", b"a\nb")], "label of 1.png"),
    "a huge label": ([("1.png", picture()), ("1.cls", b"a" * 2000)], "at most 1,000"),
    "no text": ([("1.png", picture()), ("1.cls", b"\xff")], "not UTF-8"),
    "no json": ([("1.png", picture()), ("1.json", b"{")], "not JSON"),
    "a label alone": ([("1.cls", b"7")], "found none"),
    "two images": ([("1.png", b""), ("1.jpg", b""), ("1.cls", b"7")], "found 1.png and 1.jpg"),
    "an image twice": (
        [("1.png", b"a"), ("1.cls", b"7"), ("2.png", b""), ("2.cls", b"7")]
        + [("1.png", b"b"), ("1.cls", b"8")],
        "two images are called '1.png'",
    ),
    "nothing": ([("readme.txt", b"")], "holds no images"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tars_are_refused(tmp_path, name):
    members, words = HOSTILE[name]
    packed(tmp_path / "x.tar", members)
    with pytest.raises(ValueError, match=words):
        tar_table.read_tar_table([tmp_path / "x.tar"], tmp_path)


def with_size(content, size):
    """A tar whose first header claims another size."""
    field = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    head = bytearray(content[:512])
    head[124:136], head[148:156] = field, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content[512:]


DAMAGED = {
    "larger than the file": (lambda c: with_size(c, 10**12), "claims 1,000,000,000,000 bytes"),
    "a negative size": (lambda c: with_size(c, -512), "x.tar"),
    "cut in a member": (lambda c: c[:700], "x.tar"),
    "cut between members": (lambda c: c[: c.index(b"2.png")], "cut off or damaged"),
    "a damaged header": (lambda c: c.replace(b"2.png", b"3.png", 1), "cut off or damaged"),
    "compressed": (lambda c: __import__("gzip").compress(c), "no uncompressed tar"),
    "text": (lambda c: b"hello" * 500, "no uncompressed tar"),
    "empty": (lambda c: b"", "no uncompressed tar"),
}


def test_two_tars_in_one_file_are_refused(tmp_path):
    packed(tmp_path / "1.tar", [("1.png", picture()), ("1.cls", b"7")])
    packed(tmp_path / "2.tar", [("2.png", picture()), ("2.cls", b"8")])
    both = tmp_path / "both.tar"
    both.write_bytes((tmp_path / "1.tar").read_bytes() + (tmp_path / "2.tar").read_bytes())
    with pytest.raises(Refused, match="both.tar goes on after its end at .* two tars in one file"):
        tar_table.read_tar_table([both], tmp_path)
    both.write_bytes((tmp_path / "1.tar").read_bytes() + bytes(30_000))
    assert len(tar_table.read_tar_table([both], tmp_path).files) == 1


@pytest.mark.parametrize("pattern", ["/elsewhere/train-*.tar", "../train-*.tar", "a/../../*.tar"])
def test_names_of_tars_in_other_folders_are_refused(root, pattern):
    with pytest.raises(Refused, match="test_tars are names below .*dataset_path=.*tars, got"):
        tars(root, test_tars=pattern).split("test")


def test_training_tars_must_have_a_name(root):
    with pytest.raises(ValueError, match="train_tars, is empty"):
        tars(root, train_tars="")


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tars_are_refused(tmp_path, name):
    change, words = DAMAGED[name]
    members = [("1.png", picture()), ("1.cls", b"7"), ("2.png", picture()), ("2.cls", b"8")]
    path = packed(tmp_path / "x.tar", members)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        tar_table.read_tar_table([path], tmp_path)


def test_a_header_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = packed(tmp_path / "x.tar", [("a" * 200, b"")], format=tarfile.GNU_FORMAT)
    content = with_size(path.read_bytes(), 2**31)
    with path.open("wb") as stream:
        stream.write(content)
        stream.truncate(2**32)  # a file with a hole
    with pytest.raises(ValueError, match="x.tar is no uncompressed tar"):
        list(members_of_tar(path))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "how", [("JPEG", {}), ("PNG", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {}),
            ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("JPEG2000", {})], ids=str,
)  # fmt: skip
def test_images_of_every_format_are_read_in_their_place(tmp_path, how):
    noise = np.random.default_rng(1).integers(0, 255, (70, 90, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "x", how[0], **how[1])
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "many").write_bytes(b"before" * 99 + content + b"after")
    member = MemberPath("many/x", str(tmp_path / "many"), 6 * 99, len(content))
    assert np.array_equal(np.asarray(read_image(member)), np.asarray(read_image(tmp_path / "x")))
    assert probe(member) == probe(tmp_path / "x")
    (tmp_path / "x").write_bytes(content[:-2000])
    cut = MemberPath("many/x", str(tmp_path / "many"), 6 * 99, len(content) - 2000)
    assert (probe(cut).fault is None) == (probe(tmp_path / "x").fault is None)


def test_a_tar_in_two_splits_is_refused(root):
    with pytest.raises(ValueError, match="train and test share 23 images"):
        tars(root, test_tars="train-*.tar").check()
    with pytest.raises(FileNotFoundError, match="prepare.tars LIST FOLDER"):
        tars(root, test_tars="none-*.tar").check()


def test_a_member_is_read_like_a_file(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(100)))
    with open_file(MemberPath("x/y", str(tmp_path / "x"), 10, 50)) as stream:
        assert stream.read() == bytes(range(10, 60))
        assert stream.seek(-5, 2) == 45
        assert stream.read(99) == bytes(range(55, 60))
        assert stream.seek(3) == 3
        assert stream.read(2) == b"\x0d\x0e"
        assert stream.seek(1, 1) == 6
        with pytest.raises(OSError, match="before the beginning"):
            stream.seek(-9, 1)
