"""The prepare scripts from the command line."""

import hashlib
import http.server
import shlex
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.datasets.archives import cars_files, cub_archive, sop_archive, tar_of
from tests.datasets.benchmarks import build
from vmf_embeddings.cli import overrides
from vmf_embeddings.cli.as_typed import text_of
from vmf_embeddings.cli.assembly import register_resolvers
from vmf_embeddings.datasets.prepare.cars196 import CARS196
from vmf_embeddings.datasets.prepare.command import main, next_commands
from vmf_embeddings.datasets.prepare.cub200 import CUB200
from vmf_embeddings.datasets.prepare.sop import SOP

SCRIPTS = "vmf_embeddings.third_party.dml_cross_entropy.download_and_process_"


def run(source, *arguments):
    return main(source, [str(argument) for argument in arguments])


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/served; yields (folder, address)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as it:
        threading.Thread(target=it.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{it.server_port}"
        it.shutdown()


@pytest.mark.parametrize(
    ("source", "make", "folder"),
    [
        (CARS196, cars_files, ""),
        (CUB200, lambda folder: [cub_archive(folder / "c.tgz")], "CUB_200_2011"),
        (SOP, lambda folder: [sop_archive(folder / "s.zip")], ""),
    ],
    ids=lambda value: getattr(value, "config", None),
)
def test_an_archive_becomes_a_data_set(tmp_path, capsys, source, make, folder):
    path = tmp_path / "new" / "data"
    assert run(source, path, "--archive", *make(tmp_path)) == 0
    build(source.config, path / folder).check()
    told = capsys.readouterr().out
    assert f"dataset={source.config} dataset.params.dataset_path={path / folder}" in told
    assert not list(path.rglob("*.part"))
    assert all(b"\r" not in f.read_bytes() for f in (path / folder).glob("*.txt"))


def test_what_is_complete_is_not_fetched_again(tmp_path):
    assert run(SOP, tmp_path, "--archive", sop_archive(tmp_path / "s.zip")) == 0
    (tmp_path / "train.txt").unlink()
    unreachable = "http://127.0.0.1:9/s.zip"
    assert run(SOP, tmp_path, "--url", unreachable) == 0
    assert (tmp_path / "train.txt").is_file()


@pytest.mark.parametrize("script", ["cub", "cub200"])
def test_both_names_of_the_cub_script_run(tmp_path, script):
    archive = cub_archive(tmp_path / "c.tgz", n_images=1)
    command = [sys.executable, "-m", SCRIPTS + script, tmp_path / "p", "--archive", archive]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train.txt: 85 images of 85 classes" in done.stdout
    assert "val.txt: 15 images of 15 classes" in done.stdout
    assert "test.txt: 100 images of 100 classes" in done.stdout


@pytest.mark.parametrize("script", ["cars196", "sop"])
def test_mistakes_end_with_exit_code_2_and_without_a_traceback(tmp_path, script):
    command = [sys.executable, "-m", SCRIPTS + script, tmp_path, "--archive", "nowhere.tgz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --archive nowhere.tgz does not exist\n"


def test_a_path_that_is_a_file_is_a_mistake(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(SOP, tmp_path / "file") == 2
    assert "is a file; expected a folder" in capsys.readouterr().err


def test_an_evil_archive_is_a_mistake(tmp_path, capsys):
    archive = tar_of(tmp_path / "evil.tgz", {"../evil": b"evil"})
    assert run(CUB200, tmp_path / "data", "--archive", archive) == 2
    assert "leads out of the folder" in capsys.readouterr().err
    assert not (tmp_path / "evil").exists()


def test_an_archive_of_something_else_is_a_mistake(tmp_path, capsys):
    archive = tar_of(tmp_path / "other.tgz", {"readme.txt": b"hello"})
    assert run(CUB200, tmp_path / "data", "--archive", archive) == 2
    assert "images.txt is missing after extraction" in capsys.readouterr().err


def test_an_incomplete_archive_is_a_mistake(tmp_path, capsys):
    table = b"1 001.A/x.jpg\n2 001.A/y.jpg\n"
    members = {"CUB_200_2011/images.txt": table, "CUB_200_2011/images/001.A/x.jpg": b"jpeg"}
    archive = tar_of(tmp_path / "half.tgz", members)
    assert run(CUB200, tmp_path / "data", "--archive", archive) == 2
    assert "1 of 2 images are missing" in capsys.readouterr().err
    assert not (tmp_path / "data" / "CUB_200_2011" / "train.txt").exists()


def test_no_network_is_a_failure_that_says_what_else_to_do(tmp_path, capsys):
    assert run(CUB200, tmp_path, "--url", "http://127.0.0.1:9/c.tgz") == 1
    told = capsys.readouterr().err
    assert "cannot download http://127.0.0.1:9/c.tgz" in told
    assert "--archive FOLDER/CUB_200_2011.tgz" in told
    assert list(tmp_path.iterdir()) == []


def test_files_of_this_machine_are_no_address(tmp_path, capsys):
    assert run(CUB200, tmp_path, "--url", "file:///etc/passwd") == 2
    assert "expected one of https, http, ftp" in capsys.readouterr().err


def test_downloads_are_fetched_with_progress(tmp_path, server, capsys):
    folder, address = server
    cars_files(folder)
    urls = [f"{address}/cars_annos.mat", f"{address}/car_ims.tgz?x=1"]
    assert run(CARS196, tmp_path / "data", "--url", *urls) == 0
    assert "car_ims.tgz: 100% of" in capsys.readouterr().err
    assert (tmp_path / "data" / "car_ims.tgz").is_file()
    assert not list(tmp_path.rglob("*.part"))


def test_a_download_must_have_the_published_sum(tmp_path, server, capsys):
    folder, address = server
    content = cub_archive(folder / "c.tgz").read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    right = replace(CUB200.downloads[0], url=f"{address}/c.tgz", md5=md5)
    wrong = replace(right, md5="0" * 32)
    assert run(replace(CUB200, downloads=(wrong,)), tmp_path / "data") == 1
    assert f"has md5 {md5}, expected {'0' * 32}" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []
    assert run(replace(CUB200, downloads=(right,)), tmp_path / "data") == 0


def test_a_missing_page_is_a_failure(tmp_path, server, capsys):
    assert run(SOP, tmp_path / "data", "--url", f"{server[1]}/gone.zip") == 1
    assert "404" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data", "my cars", "it's, (1) {2}", "2024", "a=b", "~x", "é"])
def test_the_next_command_reads_any_path_back(name):
    register_resolvers()
    for command in next_commands(SOP, Path(name))[::2]:
        words = shlex.split(command.removeprefix("Next: "))
        [argument] = [word for word in words if word.startswith("dataset.params.dataset_path=")]
        assert text_of(overrides.quoted(["dataset=sop", argument])[-1]) == name
