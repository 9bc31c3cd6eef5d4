"""Archives that attack."""

import io
import random
import stat
import tarfile
import zipfile

import pytest

from tests.datasets.archives import tar_of, zip_of
from vmf_embeddings.datasets.prepare.extract import extract
from vmf_embeddings.datasets.prepare.source import UserMistake

GOOD = {"good.txt": b"good"}
LINK, HARD, FIFO, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE


@pytest.fixture
def inside(tmp_path):
    folder = tmp_path / "outer" / "inside"
    folder.mkdir(parents=True)
    return folder


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "bad",
    [
        {"../evil.txt": b"evil"},
        {"a/../../evil.txt": b"evil"},
        {"/tmp/vmf_evil.txt": b"evil"},
        {"C:\\evil.txt": b"evil"},
        {"..\\evil.txt": b"evil"},
        {"link": (LINK, "../.."), "link/evil.txt": b"evil"},
        {"link": (LINK, "/etc"), "link/evil.txt": b"evil"},
        {"a/link": (LINK, "../../x")},
        {"link": (HARD, "../secret.txt")},
        {"link": (HARD, "/etc/passwd")},
        {"pipe": (FIFO, "")},
        {"device": (DEVICE, "")},
    ],
    ids=str,
)
def test_a_tar_that_tries_to_escape_is_refused_whole(tmp_path, inside, bad):
    archive = tar_of(tmp_path / "bad.tgz", GOOD | bad)
    with pytest.raises(UserMistake, match=r"bad\.tgz is refused: it contains"):
        extract(archive, inside)
    assert everything_below(tmp_path) == ["bad.tgz", "outer", "outer/inside"]


def test_links_that_stay_inside_are_left_out(tmp_path, inside):
    members = GOOD | {"link": (LINK, "good.txt"), "link/x.txt": b"x"}
    extract(tar_of(tmp_path / "a.tgz", members), inside)
    assert everything_below(inside) == ["good.txt", "link", "link/x.txt"]
    assert not (inside / "link").is_symlink()


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/vmf_evil.txt"])
def test_a_zip_that_tries_to_escape_is_refused_whole(tmp_path, inside, name):
    archive = zip_of(tmp_path / "bad.zip", GOOD | {name: b"evil"})
    with pytest.raises(UserMistake, match=r"bad\.zip is refused: it contains .*leads out"):
        extract(archive, inside)
    assert everything_below(tmp_path) == ["bad.zip", "outer", "outer/inside"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_a_zip_with_a_link_out_or_a_pipe_is_refused(tmp_path, inside, kind):
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr(member, "../../secret")
    with pytest.raises(UserMistake, match="is refused"):
        extract(tmp_path / "bad.zip", inside)
    assert everything_below(inside) == []


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_honest_archives_are_unpacked_whatever_their_name(tmp_path, inside, make):
    extract(make(tmp_path / "archive", {"./a/..b/c.txt": b"c"} | GOOD), inside)
    assert (inside / "a" / "..b" / "c.txt").read_bytes() == b"c"
    assert (inside / "good.txt").read_bytes() == b"good"


@pytest.mark.parametrize("cut", [0, 10, -20_000])
def test_cut_archives_are_named(tmp_path, inside, cut):
    noise = random.Random(0).randbytes(40_000)  # does not compress: the cut falls into it
    whole = tar_of(tmp_path / "a.tgz", {"a": noise}).read_bytes()
    (tmp_path / "a.tgz").write_bytes(whole[:cut])
    with pytest.raises(UserMistake, match=r"a\.tgz is not a complete tar or zip archive"):
        extract(tmp_path / "a.tgz", inside)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_damaged_archives_leave_nothing_behind(tmp_path, inside, mode, place):
    archive = tmp_path / "a.tar"
    noise = random.Random(0)
    with tarfile.open(archive, f"w:{mode}") as tar:
        for i in range(50):
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = 500
            tar.addfile(info, io.BytesIO(noise.randbytes(500)))
    damaged = bytearray(archive.read_bytes())
    damaged[int(place * len(damaged))] ^= 0xFF
    archive.write_bytes(damaged)
    with pytest.raises(UserMistake, match="not a complete tar or zip archive"):
        extract(archive, inside)
    assert everything_below(inside) == []
