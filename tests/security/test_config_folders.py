"""Files of `--config-dir` and `--config-path` choose options; they say nothing to Hydra."""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands.run import MAIN, command
from tests.quick_cases import mostly_slow
from tests.security.received import complaint
from vmf_embeddings.cli import assembly, composition
from vmf_embeddings.cli.help import CONF

HEAD = "# @package _global_\n"


def composed(folder: Path, *overrides: str, name: str = "config", main: Path = CONF):
    """What a command composes with a received folder, whether beside or instead of the usual."""
    from hydra._internal.utils import create_config_search_path
    from hydra.types import RunMode

    assembly.register_resolvers()
    path = create_config_search_path(str(main))
    path.prepend("command-line", f"file://{folder}", anchor="schema")
    loader = composition.CheckedLoader(path)
    return loader.load_configuration(name, list(overrides), RunMode.RUN)


def option(folder: Path, text: str, name: str = "experiment/own") -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


TO_HYDRA = {
    "callbacks": "callbacks: {evil: {_target_: some.callable}}",
    "env_set": "job: {env_set: {VMF_ALLOW_TARGETS: os.}}",
    "env_copy": "job: {env_copy: [NOT_THERE, HOME]}",
    "job_logging.handlers": 'job_logging: {handlers: {x: {"()": os.system, command: "true"}}}',
    "job_logging.formatters": 'job_logging: {formatters: {simple: {"()": os.system}}}',
    "hydra_logging.handlers": "hydra_logging: {handlers: {x: {class: logging.FileHandler}}}",
    "job_logging.filters": 'job_logging: {filters: {x: {"()": os.system}}}',
    "job_logging.handlers.file": "job_logging: {handlers: {file: {filename: /tmp/x.log}}}",
    "run.dir": "run: {dir: /tmp/elsewhere}",
    "sweep.dir": "sweep: {dir: ../elsewhere}",
    "sweep.subdir": "sweep: {subdir: ../../elsewhere}",
    "launcher": "launcher: {_target_: some.callable}",
    "sweeper._target_": "sweeper: {_target_: some.callable}",
    "sweeper.params.hydra.x": "sweeper: {params: {hydra.run.dir: /tmp/x}}",
    "sweeper.params.+hydra": "sweeper: {params: {+hydra.callbacks.x._target_: y}}",
    "sweeper.params.run": "sweeper: {params: {run: /tmp/x}}",
    "sweeper.params.dataset@": "sweeper: {params: {dataset@hydra.callbacks.x: mnist}}",
    "output_subdir": "output_subdir: ../../elsewhere",
    "job.chdir": "job: {chdir: true}",
    "job.name": "job: {name: ../../x}",
    "job.config": "job: {config: {override_dirname: {item_sep: /../}}}",
    "help.template": "help: {template: '$HOME'}",
    "overrides": "overrides: {task: [name=../../x]}",
    "runtime": "runtime: {output_dir: /tmp}",
}


@pytest.mark.parametrize("key", TO_HYDRA)
def test_a_file_says_nothing_to_hydra(tmp_path, key):
    option(tmp_path, f"{HEAD}hydra:\n  {TO_HYDRA[key]}\n")
    with pytest.raises(assembly.Refused, match=r"hydra\.\S+ is set by a file"):
        composed(tmp_path, "experiment=own")


MOVED = {
    "package": ("# @package hydra.callbacks.x\n_target_: some.callable\n", "experiment/own"),
    "key": ("hydra:\n  job: {env_set: {A: b}}\n", "own"),
    "defaults": (HEAD + "defaults: [{/dataset@hydra.callbacks.x: mnist}]\n", "experiment/own"),
    "override": (HEAD + "defaults: [{override /hydra/job_logging: none}]\n", "experiment/own"),
}


@pytest.mark.parametrize("way", MOVED)
def test_no_way_round_leads_to_hydras_node(tmp_path, way):
    text, name = MOVED[way]
    option(tmp_path, text, name)
    typed = "+own@_global_=own" if "/" not in name else "experiment=own"
    if "/" not in name:
        option(tmp_path, text, "own/own")
    with pytest.raises(assembly.Refused, match=r"hydra\.\S+ is set by a file"):
        composed(tmp_path, typed)


def test_an_option_for_hydra_comes_from_installed_packages_only(tmp_path):
    option(tmp_path, "_target_: some.callable\n", "hydra/launcher/own")
    with pytest.raises(assembly.Refused, match="installed packages only"):
        composed(tmp_path, "hydra/launcher=own")


@pytest.mark.parametrize("escaped", [r"$\{oc.env:HOME\}", r"$\\{oc.env:HOME}"])
def test_overrides_in_a_file_call_no_function_after_their_escapes_are_read(tmp_path, escaped):
    params = json.dumps({"name": escaped})
    option(tmp_path, f"{HEAD}hydra:\n  sweeper: {{params: {params}}}\n")
    option(tmp_path, f"name: own\nsecond: [{json.dumps('name=' + escaped)}]\n", "stages/own")
    for word in ("experiment=own", "stages=own"):
        with pytest.raises(assembly.Refused, match="nothing else"):
            composed(tmp_path, word)


def test_a_file_adds_no_folders_to_search_in(tmp_path):
    option(tmp_path, "hydra:\n  searchpath: [pkg://this]\ndefaults: [config]\n", "primary")
    with pytest.raises(assembly.Refused, match="searchpath"):
        composed(tmp_path, name="primary")


FUNCTIONS = [
    "${oc.env:HOME}", r"\${oc.env:HOME}", "${oc.decode:'1'}", "${hydra:runtime.cwd}", "${now:%Y}",
    "${ oc.env:HOME}", "${oc.select:a,${oc.env:HOME}}", "${${a}:HOME}", "a${oc.env:HOME}b",
    "${oc.${a}:HOME}", "${python_version:}", "${oc.dict.values:a}", "${OC.env:HOME}", "${a",
    "${run_folder:${oc.env:HOME},x}", r"\\\${mode.name}",
]  # fmt: skip


@pytest.mark.parametrize("text", FUNCTIONS)
def test_a_file_calls_no_function(tmp_path, text):
    option(tmp_path, f"{HEAD}name: {json.dumps(text)}\n")
    with pytest.raises(assembly.Refused, match="name is"):
        composed(tmp_path, "experiment=own")


@pytest.mark.parametrize("text", FUNCTIONS[:3])
def test_a_list_of_defaults_calls_no_function(tmp_path, text):
    option(tmp_path, f"{HEAD}defaults: [{{override /dataset: {json.dumps(text)}}}]\n")
    with pytest.raises(assembly.Refused, match="defaults"):
        composed(tmp_path, "experiment=own")


def test_a_file_may_refer_to_other_keys_and_choose_options(tmp_path):
    option(
        tmp_path,
        HEAD + "defaults: [{override /dataset: digits}]\nname: own\n"
        "optimizer: {params: {lr: '${mode.learning_rate}'}}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {random_seed: '1,2'}}}\n",
    )
    cfg = composed(tmp_path, "experiment=own")
    assert (cfg.dataset.name, cfg.name) == ("digits", "own")
    assert cfg.optimizer.params.lr == cfg.mode.learning_rate


def test_what_is_typed_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WHERE_IMAGES_LIE", "/data")
    option(tmp_path, f"{HEAD}name: own\n")
    typed = ["hydra.run.dir=elsewhere", "dataset.params.dataset_path=${oc.env:WHERE_IMAGES_LIE}"]
    cfg = composed(tmp_path, "experiment=own", *typed)
    assert cfg.hydra.run.dir == "elsewhere" and cfg.dataset.params.dataset_path == "/data"


FILES = {
    "aliases": f"{HEAD}a: &a [x, x, x]\nb: &b [*a, *a, *a]\nname: [*b, *b]\n",
    "merge": f"{HEAD}a: &a {{b: c}}\nname:\n  <<: [*a, *a]\n",
    "tag": f"{HEAD}name: !!python/object/apply:os.system ['true']\n",
    "path tag": f"{HEAD}name: !!python/object/apply:pathlib.Path ['/etc']\n",
    "deep": HEAD + "name: " + "[" * 20_000,
    "broad": HEAD + "name: [" + "1," * 25_000 + "1]",
    "large": HEAD + "name: " + "x" * 2_000_000,
    "binary": HEAD + "name: \x00\x01",
    "run": f"{HEAD}run: /tmp\n",
    "data set": f"{HEAD}dataset: {{name: ../../..}}\n",
    "mode": f"{HEAD}mode: {{name: ../../x}}\n",
    "name": f"{HEAD}name: ../../../../x\n",
    "lines": f'{HEAD}name: "a\\nb"\n',
    "width": f"{HEAD}arch: {{params: {{embedding_dim: ../../../..}}}}\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_hostile_file_is_refused(tmp_path, text):
    option(tmp_path, text)
    with pytest.raises(assembly.Refused):
        composed(tmp_path, "experiment=own")


def test_no_option_is_read_from_outside_the_folder(tmp_path):
    option(tmp_path / "elsewhere", "name: secret\n", "x")
    option(tmp_path / "mine", f"{HEAD}defaults: [../../elsewhere/x]\n")
    (tmp_path / "mine/experiment/link.yaml").symlink_to(tmp_path / "elsewhere/x.yaml")
    for name in ("own", "link", "../../elsewhere/x", "../../../../../../etc/x"):
        with pytest.raises(assembly.Refused, match=r"leads out|name of an option"):
            composed(tmp_path / "mine", f"experiment={name}")


def test_a_folder_instead_of_ours_is_held_to_the_same(tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    assert composed(tmp_path, "dataset=digits", main=tmp_path / "conf").dataset.name == "digits"
    with (tmp_path / "conf/config.yaml").open("a") as file:
        file.write("  callbacks: {evil: {_target_: some.callable}}\n")
    with pytest.raises(assembly.Refused, match=r"hydra\.callbacks"):
        composed(tmp_path, "dataset=digits", main=tmp_path / "conf")


SPELLINGS = ["--config-dir=mine", "--config-d=mine", "-cd=mine", "-cdmine"]


@pytest.mark.parametrize("words", mostly_slow(SPELLINGS, (SPELLINGS[1], SPELLINGS[3])))
def test_every_spelling_of_the_option_is_checked(tmp_path, words):
    evil = f"callbacks: {{x: {{_target_: os.system, command: 'touch {tmp_path}/marker'}}}}"
    option(tmp_path / "mine", f"{HEAD}hydra:\n  {evil}\n")
    said = command(MAIN, words, "experiment=own", cwd=tmp_path)
    assert said.returncode == 2, said.stderr
    assert not (tmp_path / "marker").exists()


WAYS = {"cfg": ["--cfg=hydra"], "sweep": ["random_seed=1,2", "-m"], "info": ["--info=all"]}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_whatever_hydra_is_asked_for_is_checked(tmp_path, words):
    handler = f'{{"()": os.mkdir, path: {tmp_path}/marker}}'
    text = f"{HEAD}hydra:\n  hydra_logging: {{handlers: {{x: {handler}}}}}\n"
    option(tmp_path / "mine", text)
    said = complaint(tmp_path, "experiment=own", *words, "--config-dir=mine")
    assert "hydra_logging" in said and not (tmp_path / "marker").exists()


def test_a_target_in_a_received_option_is_built_as_it_was_checked(tmp_path):
    marker = tmp_path / "marker"
    text = (
        f"name: own\nparams: {{_target_: '${{.safe}}', safe: os.system, command: touch {marker}}}"
    )
    option(tmp_path / "mine", text, "dataset/own")
    said = complaint(tmp_path, "--config-dir=mine", "dataset=own")
    assert "_target_" in said and not marker.exists()
