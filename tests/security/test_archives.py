"""Archives and downloads from others: nothing outside the folder, and never more than is likely."""

import bz2
import io
import lzma
import stat
import struct
import tarfile
import zipfile

import pytest

from tests.datasets.archives import tar_of, zip_of
from vmf_embeddings.datasets.prepare import command, extract, fetch
from vmf_embeddings.datasets.prepare.cub200 import CUB200
from vmf_embeddings.datasets.prepare.lists import write_lists
from vmf_embeddings.datasets.prepare.source import Download, PreparationFailure, UserMistake

HUGE = 3 * 2**30


@pytest.fixture
def inside(tmp_path):
    folder = tmp_path / "outer" / "inside"
    folder.mkdir(parents=True)
    return folder


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def tar_bomb(path, pack=None, *, size=HUGE):
    """A tar whose header claims `size` bytes; what `pack` compresses are 80 MB of zeros."""
    info = tarfile.TarInfo("images/a.jpg")
    info.size = size
    path.write_bytes((pack or (lambda content: content))(info.tobuf() + bytes(80 * 2**20)))
    return path


def pax_bomb(path):
    """An extended header that says that its text has 2 GB; tarfile reads it at once."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 2 * 2**30
    path.write_bytes(bz2.compress(info.tobuf() + bytes(40 * 2**20)))
    return path


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("images/a.jpg", bytes(80 * 2**20))
    return path


def overlapping_zip(path):
    """A thousand names for one piece of compressed data."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("0", bytes(2**20))
        first = zipped.infolist()[0]
        for i in range(1, 1000):
            again = zipfile.ZipInfo(str(i))
            for key in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(again, key, getattr(first, key))
            zipped.filelist.append(again)
    return path


BOMBS = {
    "tar": tar_bomb,
    "bz2": lambda path: tar_bomb(path, bz2.compress),
    "xz": lambda path: tar_bomb(path, lambda content: lzma.compress(content, preset=0)),
    "sparse": lambda path: tar_bomb(path, bz2.compress, size=2**40),
    "pax": pax_bomb,
    "zip": zip_bomb,
    "overlap": overlapping_zip,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_anything_is_written(tmp_path, inside, kind):
    archive = BOMBS[kind](tmp_path / "bomb")
    with pytest.raises(UserMistake, match=r"bomb is (refused|not a complete)"):
        extract.extract(archive, inside)
    assert below(inside) == []


def test_what_follows_the_end_of_an_archive_counts_too(tmp_path, inside, monkeypatch):
    monkeypatch.setattr(extract, "FLOOR", 2**20)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    archive = tmp_path / "a.tar.bz2"
    archive.write_bytes(bz2.compress((tmp_path / "a.tar").read_bytes() + bytes(8 * 2**20)))
    with pytest.raises(UserMistake, match="unpacks to more than"):
        extract.extract(archive, inside)
    assert below(inside) == []


def test_the_number_of_members_is_limited(tmp_path, inside, monkeypatch):
    monkeypatch.setattr(extract, "MOST_MEMBERS", 3)
    members = {f"{i}.jpg": b"x" for i in range(4)}
    for archive in (tar_of(tmp_path / "a", members), zip_of(tmp_path / "b", members)):
        with pytest.raises(UserMistake, match="more than 3 members"):
            extract.extract(archive, inside)
    members.popitem()
    extract.extract(zip_of(tmp_path / "c", members), inside)
    assert below(inside) == ["0.jpg", "1.jpg", "2.jpg"]


def test_images_of_any_number_unpack(tmp_path, inside, monkeypatch):
    monkeypatch.setattr(extract, "FLOOR", 0)
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for i in range(50):
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = 3000
            tar.addfile(info, io.BytesIO(bytes(3000)))
    extract.extract(archive, inside)
    assert len(below(inside)) == 50


def test_a_size_below_zero_does_not_lead_round_in_a_circle(tmp_path, inside):
    info = tarfile.TarInfo("a.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + struct.pack(">h", -1024)  # in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(UserMistake, match="refused|not a complete"):
        extract.extract(tmp_path / "a.tar", inside)


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/tmp/x", "C:\\x", "..\\x", "a\nb.jpg", "\x1b[2J.jpg"]
)
def test_names_that_lead_out_or_deceive_are_refused(tmp_path, inside, make, name):
    archive = make(tmp_path / "bad", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(UserMistake, match="bad is refused: it contains"):
        extract.extract(archive, inside)
    assert below(tmp_path) == ["bad", "outer", "outer/inside"]


@pytest.mark.parametrize(
    "members",
    [
        {"link": (tarfile.SYMTYPE, "/etc"), "link/x": b"x"},
        {"link": (tarfile.SYMTYPE, "../.."), "link/x": b"x"},
        {"link": (tarfile.LNKTYPE, "../../secret")},
        {"pipe": (tarfile.FIFOTYPE, "")},
        {"device": (tarfile.CHRTYPE, "")},
    ],
    ids=str,
)
def test_links_out_and_devices_in_a_tar_are_refused(tmp_path, inside, members):
    with pytest.raises(UserMistake, match="is refused"):
        extract.extract(tar_of(tmp_path / "bad.tgz", members), inside)
    assert below(inside) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_out_and_devices_in_a_zip_are_refused(tmp_path, inside, kind):
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr(member, "../../secret")
    with pytest.raises(UserMistake, match="is refused"):
        extract.extract(tmp_path / "bad.zip", inside)


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("planted", ["images", "images/a.jpg"])
def test_nothing_is_written_through_a_link_that_lies_there(tmp_path, inside, make, planted):
    outside = tmp_path / "outside"
    outside.mkdir()
    (inside / planted).parent.mkdir(exist_ok=True)
    (inside / planted).symlink_to(outside if planted == "images" else outside / "a.jpg")
    archive = make(tmp_path / "a", {"images/a.jpg": b"evil"})
    with pytest.raises(UserMistake, match="symbolic link"):
        extract.extract(archive, inside)
    assert below(outside) == []


def test_the_command_ends_with_code_2_and_says_why(tmp_path, inside, capsys):
    archive = tar_bomb(tmp_path / "bomb.tgz", bz2.compress)
    assert command.main(CUB200, [str(inside), "--archive", str(archive)]) == 2
    assert "bomb.tgz is refused" in capsys.readouterr().err
    assert below(inside) == []


class Answer(io.BytesIO):
    """What a server sends, with or without its length beforehand."""

    def __init__(self, content, length=None):
        super().__init__(content)
        self.headers = {} if length is None else {"Content-Length": str(length)}


@pytest.mark.parametrize("length", [None, 101, 10**15])
def test_a_download_that_is_too_large_leaves_nothing(tmp_path, monkeypatch, length):
    monkeypatch.setattr(fetch, "MOST_BYTES", 100)
    monkeypatch.setattr(
        fetch.urllib.request, "urlopen", lambda *_, **__: Answer(b"x" * 101, length)
    )
    with pytest.raises(PreparationFailure, match="at most 100 are accepted"):
        fetch.fetch(Download("a.tgz", "https://a.b/a.tgz"), tmp_path, print)
    assert below(tmp_path) == []


def test_a_download_is_not_written_through_a_link(tmp_path, monkeypatch, inside):
    (inside / "a.tgz").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda *_, **__: Answer(b"x"))
    fetch.fetch(Download("a.tgz", "https://a.b/a.tgz"), inside, print)
    assert not (tmp_path / "elsewhere").exists()
    assert (inside / "a.tgz").read_bytes() == b"x"


def test_lists_are_not_written_through_a_link_and_have_no_lines_of_their_own(tmp_path, inside):
    (inside / "train.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserMistake, match="exists with other content"):
        write_lists(inside, {"train": [("a.jpg", 0)]})
    with pytest.raises(UserMistake, match="control characters"):
        write_lists(inside, {"train": [("a.jpg,0\nb.jpg", 0)]})
    assert not (tmp_path / "elsewhere").exists()
