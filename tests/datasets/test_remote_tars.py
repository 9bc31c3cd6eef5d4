"""Remote tars are copied whole and once, checked, and then are those of a local folder."""

import functools
import hashlib
import http.server
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.datasets.test_tars import root, same_splits, tars
from vmf_embeddings.cli.assembly.addresses import refuse_addresses_not_typed
from vmf_embeddings.datasets import remote_tars
from vmf_embeddings.datasets.remote_tars import copies
from vmf_embeddings.datasets.tars import Tars
from vmf_embeddings.untrusted.refused import Refused

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
assert root  # a fixture


@pytest.fixture
def memory():
    """A file system in memory with two tars of random bytes, `memory://tars`."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    for name in ("a-0.tar", "a-1.tar"):
        put(files, name, os.urandom(10_000))
    return files


def put(files, name, content, checksum=None):
    digest = checksum or hashlib.sha256(content).hexdigest()
    files.pipe_file(f"/tars/{name}", content)
    files.pipe_file(f"/tars/{name}.sha256", f"{digest}  {name}\n".encode())


def contents(paths):
    return {path.name: path.read_bytes() for path in paths}


def test_splits_of_remote_tars_are_those_of_local_ones(root, tmp_path):
    names = {"train_tars": "train-*.tar", "valid_tars": "val-*.tar", "test_tars": "test-*.tar"}
    local = tars(root)
    remote = Tars(
        f"file://{root}/tars", cache_path=tmp_path / "copies", **names,
        valid_share=0.25, views=1, margin_warmup_epochs=0, background="white", max_pixels=None,
        on_error="refuse", **{k: getattr(local, k) for k in ("image_size", "mean", "std")},
        augment="inat",
    )  # fmt: skip
    remote.check()
    for name in ("train", "valid", "test"):
        assert list(remote.split(name).labels) == list(local.split(name).labels)
        assert remote.split(name).identity == local.split(name).identity
    same_splits(remote, local)
    assert not list((tmp_path / "copies").rglob("*.part"))


def test_what_is_there_is_kept_and_what_changed_is_copied_again(memory, tmp_path):
    made = copies("memory://tars", "a-*.tar", tmp_path)
    assert contents(made) == {n: memory.cat_file(f"/tars/{n}") for n in ("a-0.tar", "a-1.tar")}
    before = [path.stat().st_mtime_ns for path in made]
    assert copies("memory://tars", "a-*.tar", tmp_path) == made
    assert before == [path.stat().st_mtime_ns for path in made]
    put(memory, "a-1.tar", os.urandom(10_000))  # of the same size
    assert contents(copies("memory://tars", "a-*.tar", tmp_path))["a-1.tar"] == memory.cat_file(
        "/tars/a-1.tar"
    )
    assert made[0].stat().st_mtime_ns == before[0]


def test_a_copy_that_was_cut_off_is_made_again(memory, tmp_path):
    made = copies("memory://tars", "a-*.tar", tmp_path)
    made[0].write_bytes(made[0].read_bytes()[:500])
    (tmp_path / "a-1.tar.sha256").unlink()
    wanted = {n: memory.cat_file(f"/tars/{n}") for n in ("a-0.tar", "a-1.tar")}
    assert contents(copies("memory://tars", "a-*.tar", tmp_path)) == wanted


@pytest.mark.parametrize("kind", ["sha256", "longer", "shorter", "note"])
def test_what_a_server_did_not_promise_is_refused_and_leaves_nothing(
    memory, tmp_path, monkeypatch, kind
):
    if kind == "sha256":
        put(memory, "a-0.tar", b"x" * 100, checksum="0" * 64)
    elif kind == "note":
        memory.pipe_file("/tars/a-0.tar.sha256", b"<html>")
    else:
        stated = 9_999 if kind == "longer" else 10_001
        monkeypatch.setattr(
            type(memory), "ls",
            lambda self, path, detail: [
                {"name": "/tars/a-0.tar", "type": "file", "size": stated}
            ],
        )  # fmt: skip
    with pytest.raises(Refused, match=r"SHA-256|the server stated"):
        copies("memory://tars", "a-*.tar", tmp_path)
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")]


@pytest.mark.parametrize("name", ["/tars/..", "/tars/a\n.tar", "/tars/.a.tar", "/tars/-a.tar"])
def test_names_that_are_no_plain_names_are_refused(memory, tmp_path, monkeypatch, name):
    entries = [{"name": name, "type": "file", "size": 1}]
    monkeypatch.setattr(type(memory), "ls", lambda self, path, detail: entries)
    with pytest.raises(Refused, match="the server names a tar"):
        copies("memory://tars", "*", tmp_path)


def test_links_to_elsewhere_are_passed_over(memory, tmp_path, monkeypatch):
    entries = [
        {"name": name, "type": "file", "size": 1}
        for name in ("/other/a-0.tar", "https://elsewhere/a-1.tar", "/tars/deep/a-2.tar")
    ]
    monkeypatch.setattr(type(memory), "ls", lambda self, path, detail: entries)
    with pytest.raises(FileNotFoundError, match=r"no tars memory://tars/a-\*\.tar"):
        copies("memory://tars", "a-*.tar", tmp_path)


def test_nothing_is_written_through_a_link(memory, tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies/a-0.tar").symlink_to(tmp_path / "target")
    with pytest.raises(Refused, match="symbolic link"):
        copies("memory://tars", "a-*.tar", tmp_path / "copies")
    assert (tmp_path / "target").read_text() == "precious"


def fetch(source, folder, barrier):
    remote_tars._fetched = counted(remote_tars._fetched, folder)
    barrier.wait()
    copies(f"file://{source}", "a-*.tar", folder / "copies")


def counted(function, folder):
    def counting(files, tar, *rest):
        (folder / f"{tar.name}.{os.getpid()}.fetched").touch()
        return function(files, tar, *rest)

    return counting


def test_several_processes_copy_a_tar_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for n in range(3):
        (source / f"a-{n}.tar").write_bytes(os.urandom(200_000))
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=fetch, args=(source, tmp_path, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list(tmp_path.glob("*.fetched"))) == 3
    assert contents((tmp_path / "copies").glob("*.tar")) == contents(source.glob("*.tar"))


def test_a_server_of_http_is_read_where_it_lists_its_folder(tmp_path):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    source = tmp_path / "tars"
    source.mkdir()
    for n in range(2):
        content = os.urandom(50_000)
        (source / f"a-{n}.tar").write_bytes(content)
        note = f"{hashlib.sha256(content).hexdigest()}  a-{n}.tar\n"
        (source / f"a-{n}.tar.sha256").write_text(note)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/tars/"
        made = copies(address, "a-*.tar", tmp_path / "copies")
        assert contents(made) == contents(source.glob("*.tar"))
        (source / "a-1.tar").write_bytes(b"x" * 50_000)
        shutil.rmtree(tmp_path / "copies")
        with pytest.raises(Refused, match="is damaged"):
            copies(address, "a-*.tar", tmp_path / "copies")
        with pytest.raises((Refused, FileNotFoundError)):
            copies(address + "nowhere/", "a-*.tar", tmp_path / "copies")
        server.shutdown()


@pytest.mark.parametrize(
    ("address", "cache", "what"),
    [
        ("memory://tars", None, r"dataset\.params\.cache_path=FOLDER"),
        ("reference://x", "c", "begins with none of s3://"),
        ("ftp://x", "c", "begins with none of s3://"),
    ],
)
def test_an_address_needs_a_cache_and_a_known_kind(address, cache, what):
    with pytest.raises(ValueError, match=what):
        remote_tars.local_folder(address, cache)


def test_chained_addresses_are_paths_of_folders_or_refused():
    assert not remote_tars.is_address("simplecache::s3://x")
    assert not remote_tars.is_address("C:/x") and not remote_tars.is_address(Path("a"))


def test_a_full_disk_stays_a_failure_of_the_machine(memory, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote_tars, "_fetched", full)
    with pytest.raises(OSError) as caught:
        copies("memory://tars", "a-*.tar", tmp_path)
    assert caught.value.errno == 28 and not isinstance(caught.value, Refused)


def test_an_address_in_a_file_is_not_opened():
    cfg = OmegaConf.create({"dataset": {"name": "tar", "params": {"dataset_path": "s3://b/x"}}})
    with pytest.raises(Refused, match=r"dataset\.params\.dataset_path is the remote address s3"):
        refuse_addresses_not_typed(cfg)
    cfg.dataset.params.dataset_path = "b/x"
    refuse_addresses_not_typed(cfg)
