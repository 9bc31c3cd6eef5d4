"""A checkpoint's configuration, and one of 2021, are plain values: they compute nothing."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.security.received import (
    complaint,
    create,
    forge_run,
    forge_run_of_2021,
    stored_configuration,
    touch,
)
from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.cli.run_config import configuration_of_run


@pytest.fixture(scope="module")
def composed_once():
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["dataset=digits", "method=vmf_softmax"])


@pytest.fixture
def today(monkeypatch, composed_once):
    monkeypatch.setenv("SECRET_OF_THE_READER", "hunter2")
    return copy.deepcopy(composed_once)


def built_from(today, config, folder: Path = Path("run")) -> None:
    """What every mode does with a run's configuration, as far as it is built."""
    with assembly.refusals():
        own = configuration_of_run(today, folder, {"config": json.dumps(config)}, [])
        assembly.dataset(own)
        assembly.method(own, None, pretrained=False)


def test_an_honest_configuration_is_built(today):
    built_from(today, stored_configuration())


INTERPOLATIONS = {
    "escaped": r"\{}",
    "escaped twice": r"\\{}",
    "plain": "{}",
    "in words": "a {} b",
    "escaped in words": r"a \{} b",
}
PLACES = ("dataset", "arch", "method", "head", "loss", "criterion", "miner", "feature_scaling")


@pytest.mark.parametrize("form", INTERPOLATIONS.values(), ids=INTERPOLATIONS)
@pytest.mark.parametrize("group", PLACES)
def test_no_text_of_a_stored_group_is_resolved(today, tmp_path, group, form):
    config, marker = stored_configuration(), tmp_path / "marker"
    config[group].setdefault("params", {})["extra"] = form.format(create(marker))
    with pytest.raises(assembly.Refused, match=rf"{group}: params\.extra"):
        built_from(today, config)
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:SECRET_OF_THE_READER}",
        r"\${oc.env:SECRET_OF_THE_READER}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
        "${oc.decode:'1'}",
        "${mode.name}",
        "${.name}",
    ],
)
@pytest.mark.parametrize("where", ["value", "list", "deep", "name", "_target_", "key"])
def test_nothing_of_the_reader_is_looked_up(today, text, where):
    config = stored_configuration()
    params = config["dataset"]["params"]
    if where == "value":
        params["augment"] = text
    elif where == "list":
        params["augment"] = ["a", [text]]
    elif where == "deep":
        params["augment"] = {"a": {"b": {"c": text}}}
    elif where == "name":
        config["dataset"]["name"] = text
    elif where == "key":
        params[text] = 1
    else:
        params["_target_"] = text
    with pytest.raises(assembly.Refused, match="expected a value|expected a name") as refusal:
        built_from(today, config)
    assert "hunter2" not in str(refusal.value)


def test_a_target_cannot_mean_one_thing_when_checked_and_another_when_built(today, tmp_path):
    config = stored_configuration()
    config["dataset"]["params"] |= {
        "_target_": "${dataset.params.safe}",
        "safe": "vmf_embeddings.datasets.digits.Digits",
        "dataset": {"params": {"safe": "os.system"}},
    }
    with pytest.raises(assembly.Refused, match="_target_"):
        built_from(today, config)


NAMES = ["../../x", "../../../tmp/x", "/etc/x", "a/b", "", None, 3, "x\ny", "\x1b[2J", ["a"], ".."]


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("group", ["dataset", "method", "head"])
def test_a_stored_choice_is_the_name_of_an_option(today, group, name):
    config = stored_configuration()
    config[group]["name"] = name
    with pytest.raises(assembly.Refused, match=f"the name of the option of {group}"):
        built_from(today, config)


def test_an_option_within_an_option_cannot_name_a_file_elsewhere(today, tmp_path):
    from vmf_embeddings.cli.assembly.objective import objective

    (tmp_path / "x.yaml").write_text("name: x\nparams: {}\n")
    build_from = compose_dive()
    build_from.method.params.student.name = f"../../../../../..{tmp_path}/x"
    with pytest.raises(assembly.Refused, match="the name of the option of method"):
        objective(build_from)


def compose_dive():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["dataset=digits", "method=dive"])


MALFORMED = {
    "no JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 5000 + "1" + "}" * 5000,
    "a number": "3",
    "groups of texts": '{"dataset": "digits"}',
    "params of texts": '{"arch": {"name": "a", "params": "b"}}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_configuration_is_refused_by_name(today, text):
    with pytest.raises(assembly.Refused, match="checkpoint"):
        configuration_of_run(today, Path("run"), {"config": text}, [])


@pytest.mark.parametrize("place", ["value", "key", "name of a class"])
@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202e"], ids=["cursor", "line", "direction"])
def test_texts_of_a_configuration_do_not_move_the_cursor(today, place, text):
    config = stored_configuration()
    params = config["arch"]["params"]
    if place == "value":
        params["pool"] = text
    elif place == "key":
        params[text] = 1
    else:
        params["more"] = {"_target_": text}
    with pytest.raises(assembly.Refused, match="without control characters") as error:
        built_from(today, config)
    assert text not in str(error.value)


@pytest.mark.parametrize(
    "seed", [-5, 2**32, 10**4000, True, "1", 1.5, None], ids=lambda s: str(s)[:9]
)
def test_a_seed_that_no_generator_takes_is_refused(today, seed):
    with pytest.raises(assembly.Refused, match="random_seed"):
        built_from(today, stored_configuration() | {"random_seed": seed})


@pytest.mark.parametrize("value", [{"a": 1}, 3, None, ["x"], b"x"], ids=repr)
def test_a_configuration_that_is_no_text_is_refused(today, value):
    with pytest.raises(assembly.Refused, match="must be a text"):
        configuration_of_run(today, Path("run"), {"config": value}, [])


YAML = {
    "interpolation": "dataset: {name: digits, params: {augment: '${oc.env:HOME}'}}",
    "escaped": r"dataset: {name: digits, params: {augment: '\${oc.env:HOME}'}}",
    "tag": "dataset: !!python/object/apply:os.system ['touch marker']",
    "path tag": "dataset: !!python/object/apply:pathlib.Path ['x']",
    "aliases": "a: &a [x, x]\nb: [*a, *a]\n",
    "itself": "a: &a [*a]",
    "deep": "[" * 20_000,
    "name": "dataset: {name: ../../x}",
    "list": "[1]",
    "no option": "dataset: {name: of_nobody}",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_a_configuration_of_2021_is_plain_values(today, tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    honest = "\narch: {name: n_digit_mnist}\nmethod: {name: vmf_softmax}\n"
    run = forge_run_of_2021(tmp_path / "run", text if text[0] == "[" else text + honest)
    with pytest.raises(assembly.Refused), assembly.refusals():
        configuration_of_run(today, run, {}, [])
    assert not (tmp_path / "marker").exists()


def test_numbers_of_2021_are_numbers(today, tmp_path):
    text = (
        "arch: {name: n_digit_mnist, params: {init_temp: 1e-05}}\nmethod: {name: vmf_softmax}\n"
        "dataset: {name: digits}\n"
    )
    run = forge_run_of_2021(tmp_path / "run", text)
    assert configuration_of_run(today, run, {}, []).arch.params.init_temp == 1e-5


MODES = ["get_embeddings", "virtual_dist", "finetune", "ncm"]  # one of each way to a run


@pytest.mark.parametrize("mode", MODES)
def test_a_received_run_runs_nothing_in_any_mode(tmp_path, mode):
    config, marker = stored_configuration(), tmp_path / "marker"
    config["dataset"]["params"]["augment"] = "\\" + create(marker)
    forge_run(tmp_path / "run", config)
    said = complaint(tmp_path, f"mode={mode}", "run=run", "dataset=digits")
    assert "params.augment" in said and not marker.exists()


def test_a_received_teacher_runs_nothing(tmp_path):
    config, marker = stored_configuration(), tmp_path / "marker"
    config["arch"]["params"]["extra"] = touch(marker)
    forge_run(tmp_path / "run", config)
    words = ["experiment=digits_lt", "method=dive", "method.params.teacher=run"]
    complaint(tmp_path, *words)
    assert not marker.exists()


def test_a_received_sweep_runs_nothing(tmp_path):
    config, marker = stored_configuration(), tmp_path / "marker"
    config["method"]["params"]["x"] = "\\" + create(marker)
    forge_run(tmp_path / "sweep/a/b", config)
    said = complaint(tmp_path, "mode=get_embeddings", "run=sweep")
    assert "params.x" in said and not marker.exists()


def test_resuming_reads_the_configuration_as_a_value(tmp_path):
    config, marker = stored_configuration(), tmp_path / "marker"
    config["dataset"]["params"]["augment"] = "\\" + create(marker)
    run = tmp_path / "runs/digits/vmf_softmax/3dim/demo"
    forge_run(run, config)
    shutil.copy(run / "model_0.pt", run / "last.pt")
    assert "another configuration" in complaint(tmp_path, "experiment=demo")
    assert not marker.exists()
