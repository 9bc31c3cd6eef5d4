"""Pickles, planted modules, planted links and names that lead away, met on the command line."""

import logging
import os
import pickle

import pytest

from tests.commands.run import MAIN, ROOT, command
from tests.quick_cases import mostly_slow
from tests.security.received import complaint, forge_run, stored_configuration
from vmf_embeddings.untrusted.log_lines import OneLineFormatter

METRICS = "vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics"
LISTS = "vmf_embeddings.datasets.prepare.inaturalist"
PREPARE = "vmf_embeddings.third_party.dml_cross_entropy.download_and_process_cub"


class Payload:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("words", [["--experimental-rerun", "x"], ["--exp=x"], ["--e", "x"]])
def test_no_pickle_is_read(tmp_path, words):
    (tmp_path / "x").write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    assert "pickle" in complaint(tmp_path, *words)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "module",
    [
        "vmf_embeddings",
        MAIN,
        "vmf_embeddings.evaluate",
        "vmf_embeddings.summarize",
        METRICS,
        PREPARE,
        LISTS,
    ],
)
def test_nothing_is_imported_from_the_folder_a_command_is_typed_in(tmp_path, module):
    plant(tmp_path)
    command(
        module,
        "mode=x" if module in (MAIN, "vmf_embeddings") else "nothing_here",
        cwd=tmp_path,
        fresh=True,
    )
    assert not (tmp_path / "marker").exists()


def plant(folder):
    """Modules by the names of everything that a command may import, each writing the marker."""
    code = f"open({str(folder / 'marker')!r}, 'w').close()\nraise SystemExit(9)\n"
    for name in ("numpy", "torch", "yaml", "hydra", "omegaconf", "argparse", "json", "matplotlib"):
        (folder / f"{name}.py").write_text(code)
    for name in ("pandas", "PIL", "rich", "scipy", "sklearn", "faiss", "numba", "pathlib"):
        (folder / f"{name}.py").write_text(code)
    (folder / "hydra_plugins/evil").mkdir(parents=True)
    (folder / "hydra_plugins/evil/__init__.py").write_text(code)


def test_a_users_own_module_is_found_and_still_no_plugin(tmp_path):
    plant(tmp_path)
    (tmp_path / "mine.py").write_text(
        "class Data:\n    def check(self):\n        raise ValueError('mine')\n"
    )
    (tmp_path / "own/dataset").mkdir(parents=True)
    (tmp_path / "own/dataset/mine.yaml").write_text("name: mine\nparams: {_target_: mine.Data}\n")
    words = ["--config-dir=own", "dataset=mine"]
    assert "error: mine" in complaint(tmp_path, *words, fresh=True, VMF_ALLOW_TARGETS="mine.Data")
    assert not (tmp_path / "marker").exists()


def test_a_checkout_keeps_its_folder():
    code = (
        "import sys; from vmf_embeddings.untrusted import import_path as i; "
        "before = list(sys.path); i.leave_working_directory(); assert sys.path == before"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "planted",
    ["main.get_embeddings.log", ".hydra_get_embeddings", ".hydra_get_embeddings/config.yaml"],
)
def test_hydra_writes_through_no_link(tmp_path, planted):
    run = forge_run(tmp_path / "run", stored_configuration())
    outside = tmp_path / "outside"
    if planted == ".hydra_get_embeddings":
        outside.mkdir()
    else:
        outside.write_text("precious")
    (run / planted).parent.mkdir(exist_ok=True)
    (run / planted).symlink_to(outside)
    assert "symbolic link" in complaint(tmp_path, "mode=get_embeddings", "run=run")
    assert outside.is_dir() or outside.read_text() == "precious"
    assert not outside.is_dir() or not list(outside.iterdir())


def test_a_pipe_as_log_is_refused_and_not_waited_for(tmp_path):
    run = forge_run(tmp_path / "run", stored_configuration())
    os.mkfifo(run / "main.get_embeddings.log")
    assert "no regular file" in complaint(tmp_path, "mode=get_embeddings", "run=run")


def test_the_folder_of_a_second_stage_is_no_link(tmp_path):
    run = forge_run(tmp_path / "run", stored_configuration())
    (tmp_path / "outside").mkdir()
    (run / "crt").symlink_to(tmp_path / "outside")
    assert "symbolic link" in complaint(tmp_path, "mode=crt", "run=run", "dataset=digits")
    assert not list((tmp_path / "outside").iterdir())


AWAY = ["dataset.name=../../..", "method.name=../..", "mode.name=../x", "name=a/../../../../x"]


@pytest.mark.parametrize("word", mostly_slow(AWAY, (AWAY[0], AWAY[3])))
def test_no_name_leads_out_of_runs(tmp_path, word):
    (tmp_path / "inside").mkdir()
    complaint(tmp_path / "inside", "experiment=demo", word)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not list((tmp_path / "inside").iterdir())


def test_a_value_makes_no_lines_in_a_log():
    record = logging.makeLogRecord({"msg": "run=%s", "args": ("a\n[2030][INFO] fake\x1b[2J",)})
    assert OneLineFormatter("%(message)s").format(record) == r"run=a\n[2030][INFO] fake\x1b[2J"


def test_hydra_uses_that_formatter():
    from omegaconf import OmegaConf

    from vmf_embeddings.cli.help import CONF

    logs = OmegaConf.load(CONF / "config.yaml").hydra.job_logging
    assert logs.formatters.simple["class"].rpartition(".")[2] == OneLineFormatter.__name__
