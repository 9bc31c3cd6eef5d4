"""Files of others are read only where they are files, and nothing is written through a link."""

import os
import socket

import pytest

from vmf_embeddings.untrusted.files import (
    open_regular,
    read_text,
    refuse_links,
    refuse_special,
    replacing,
)


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_folder(path):
    path.mkdir()


def make_link_to_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_folder, make_link_to_device])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(tmp_path / "x")
    with pytest.raises(ValueError, match="x is not a regular file"):
        open_regular("x")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "x")


def test_text_comes_back_without_byte_order_mark(tmp_path):
    (tmp_path / "x").write_bytes("\ufeffgrün".encode())
    assert read_text(tmp_path / "x") == "grün"


def test_text_beyond_the_limit_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "x", "wb") as stream:
        stream.truncate(2**40)  # a file of holes: a terabyte that takes no space
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_text(tmp_path / "x", limit=10)


def test_other_encodings_are_refused_by_name(tmp_path):
    (tmp_path / "x").write_bytes(b"gr\xfcn")
    with pytest.raises(ValueError, match=r"x is not UTF-8 text"):
        read_text(tmp_path / "x")


def test_a_block_that_succeeds_replaces_the_file(tmp_path):
    (tmp_path / "x").write_text("old")
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "new"}


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise OSError("full")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "old"}


@pytest.mark.parametrize("name", ["x", ".x.{pid}.part"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    (tmp_path / "precious").write_text("old")
    (tmp_path / name.format(pid=os.getpid())).symlink_to(tmp_path / "precious")
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "old"
    assert (tmp_path / "x").read_text() == "new"
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("make", [make_fifo, make_socket])
def test_no_file_takes_the_place_of_a_pipe_or_a_socket(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(tmp_path / "special" if make is make_fifo else "special")
    before = os.lstat("special")
    with pytest.raises(ValueError, match="would be replaced: name a file"), replacing("special"):
        pass
    assert os.lstat("special").st_ino == before.st_ino
    assert os.listdir() == ["special"]


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout"])
def test_a_device_is_not_replaced(name):
    with pytest.raises(ValueError, match=f"{name} is a device"):
        refuse_special(name)


@pytest.mark.parametrize("path", ["link", "link/file", "folder/link/deep/file"])
def test_links_below_the_root_are_refused_by_name(tmp_path, path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "folder").mkdir(parents=True)
    for place in ("link", "folder/link"):
        (tmp_path / "root" / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="link is a symbolic link"):
        refuse_links(tmp_path / "root", path)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd"])
def test_paths_that_leave_the_root_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match="does not lie in the folder"):
        refuse_links(tmp_path, path)


def test_the_root_itself_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    refuse_links(tmp_path / "root", "new/file")
    refuse_links(tmp_path / "root", tmp_path / "root" / "new")
