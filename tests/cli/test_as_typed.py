"""A value of a key that is text stays what was typed; what can be read in two ways is refused."""

import re
import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import OmegaConf

from vmf_embeddings import typed
from vmf_embeddings.cli import overrides
from vmf_embeddings.cli.as_typed import as_typed, text_of
from vmf_embeddings.cli.assembly import Refused, register_resolvers
from vmf_embeddings.cli.composition import package_configuration
from vmf_embeddings.cli.declared import Declarations

WORDS = (
    *("1.10", "2024_01_02", "1e3", "007", "true", "False", "0x10", "1_000", ".5", "inf", "-nan"),
    *("12:30:45", "2024-01-02", "7", "+7", "run_2", "no", "a b", " a ", "a(1)", "it's", 'a"b'),
    *("é", "[x]", "{a}", "{a: 1}", "$x", "50%", "a&b", "a=b", "a#b", "a\\b", "a\\\\b", "b\\", "-x"),
    *("a\nb", "a;b", "a|b", "*", "?", "!x", "a(b,c)", "日本", "''x", "x~"),
)
# text that the command line would read otherwise: a sweep, null, a home folder, quotes, a function
READ_OTHERWISE = (
    *("a,b", "null", "~/x", "'a'", '"a"', "choice(a,b)", "str(1.10)", "${name}", "", " "),
)
GROUPS = {
    **{"dataset": "csv", "method": "dive", "logger": "wandb", "mode": "finetune"},
    "arch": "resnet18",
}
KEYS = (
    *("name", "run", "mode.stage", "logger.group", "dataset", "dataset.params.csv_file"),
    *("dataset.params.dataset_path", "method.params.teacher", "arch.params.weights"),
    *("++arch.params.weights", "hydra.run.dir"),
)


@pytest.fixture(scope="module")
def declarations():
    register_resolvers()
    given = [f"{group}={option}" for group, option in GROUPS.items()]
    return Declarations(lambda: overrides.composed(given), lambda: package_configuration(GROUPS))


@pytest.fixture
def read(declarations):
    """The text that the last argument of a command gives its key."""

    def text(*arguments: str) -> str | None:
        return text_of(as_typed(arguments, declarations, overrides.GROUPS.__contains__)[-1])

    return text


@pytest.mark.parametrize("key", KEYS)
def test_text_is_what_was_typed(key, read):
    assert {word: read(f"{key}={word}") for word in WORDS} == {word: word for word in WORDS}


@pytest.mark.parametrize("word", WORDS)
def test_every_value_of_a_sweep_is_what_was_typed(word, declarations):
    if "," in word or word != word.strip():
        word = word.replace(",", "").strip()
    sweep = as_typed(["-m", f"name={word},x,1.20"], declarations, overrides.GROUPS.__contains__)
    parsed = OverridesParser.create().parse_override(sweep[-1])
    jobs = [f"name={value}" for value in parsed.sweep_string_iterator()]
    assert list(map(text_of, jobs)) == [word, "x", "1.20"]


@pytest.mark.parametrize("word", (*WORDS, *READ_OTHERWISE))
def test_a_printed_override_is_read_by_a_shell_and_the_command_as_the_text(word, read):
    for write in (typed.override, typed.quoted_override):
        printed = write("dataset.params.dataset_path", word)
        echoed = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {printed}"], capture_output=True, text=True, check=True
        )
        assert read(*echoed.stdout.split("\0")[:-1]) == word


@pytest.mark.parametrize(
    ("argument", "words"),
    {
        "name=null": ["expected a text", "'name=\"null\"'"],
        "name=a,b": ["add -m", "'name=\"a,b\"'"],
        "name=choice(a,b)": ["add -m", "'name=\"choice(a,b)\"'"],
        "dataset.params.dataset_path=NULL": ["'dataset.params.dataset_path=\"NULL\"'"],
    }.items(),
)
def test_what_can_be_read_in_two_ways_is_refused_with_what_to_type(argument, words, read):
    with pytest.raises(Refused) as refusal:
        read(argument)
    assert all(word in str(refusal.value) for word in words)
    (to_type,) = shlex.split(str(refusal.value).rpartition("type ")[2])
    assert read(to_type) == argument.partition("=")[2]


@pytest.mark.parametrize(
    "argument",
    ("mode.epochs=3", "mode.learning_rate=1e-3", "trainer.channels_last=true", "run=null")
    + ("arch.params.n_classes=10", "dataset.params.mean=[0.5,0.5,0.5]", "experiment=null")
    + ("dataset.params.open_set=true", "name=${dataset.name}_1", "mode.values=[1,2]", "name='1.10'")
    + ("dataset=mnist", "trainer.threads=2", "mode.evaluate_on=[test]"),
)
def test_other_values_are_read_as_ever(argument, declarations):
    assert as_typed([argument], declarations, overrides.GROUPS.__contains__) == [argument]


def test_elements_of_a_list_of_text_are_what_was_typed(declarations):
    given = ["mode.compare=[my run (1),1.10,'a,b']"]
    (found,) = as_typed(given, declarations, overrides.GROUPS.__contains__)
    parsed = OverridesParser.create().parse_override(found)
    assert parsed.value() == ["my run (1)", "1.10", "a,b"]


def test_home_is_expanded_in_paths_as_by_the_shell_and_a_path_with_a_comma_is_one(
    read, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert read("run=~/x") == "/home/me/x"
    assert read("dataset.params.dataset_path=~") == "/home/me"
    assert read("name=~/x") == "~/x"
    (tmp_path / "a,b").mkdir()
    assert read("run=a,b") == "a,b"
    assert read("-m", "run=a,b") == "a,b"


def test_flags_may_stand_among_overrides(declarations):
    given = ["name=1.10", "-m", "dataset=csv", "--config-dir", "a=b", "name=2,1.20"]
    found = as_typed(given, declarations, overrides.GROUPS.__contains__)
    assert found[:3] == ["-m", "--config-dir", "a=b"]
    assert found[-1] == 'name="2","1.20"'


def options(folder, **files):
    for place, text in files.items():
        path = folder / f"{place.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def composed(folder, monkeypatch, *arguments):
    register_resolvers()
    monkeypatch.setattr("sys.argv", ["main", "--config-dir", str(folder)])
    return overrides.composed(overrides.quoted(list(arguments)))


EXPERIMENT = "# @package _global_\ndefaults:\n  - override /dataset: mine\n"
DATASET = "defaults:\n  - csv\nname: mine\nparams:\n  csv_file: 1_0\n  image_size: 8\n"


def test_text_in_files_is_what_stands_there(tmp_path, monkeypatch):
    words = ["1.10", "007", "1e3", "yes", "12:30:45", "0x10", "1_000", "x", "2024-01-02", ".inf"]
    own = f"name: 1.10\nmode:\n  evaluate_on: [{', '.join(words)}]\n  epochs: 2\n"
    folder = options(tmp_path, experiment__own=EXPERIMENT + own, dataset__mine=DATASET)
    cfg = composed(folder, monkeypatch, "experiment=own")
    assert (cfg.name, list(cfg.mode.evaluate_on)) == ("1.10", words)
    assert (cfg.dataset.params.csv_file, cfg.dataset.params.image_size) == ("1_0", 8)
    assert cfg.mode.epochs == 2
    assert composed(folder, monkeypatch, "experiment=own", "name=1.20").name == "1.20"
    assert OmegaConf.create(OmegaConf.to_yaml(cfg.mode)) == cfg.mode  # as a run stores it


def test_null_in_a_file_is_refused_where_a_text_is_needed(tmp_path, monkeypatch):
    folder = options(tmp_path, experiment__own=EXPERIMENT + "name: null\n", dataset__mine=DATASET)
    with pytest.raises(Refused, match='name is null, expected a text; .* name: "null"'):
        composed(folder, monkeypatch, "experiment=own")


def test_values_of_a_sweep_in_a_file_are_what_stands_there(tmp_path, monkeypatch):
    own = EXPERIMENT + "hydra:\n  sweeper:\n    params:\n      name: 1.10,1.20\n"
    folder = options(tmp_path, experiment__own=own, dataset__mine=DATASET)
    cfg = composed(folder, monkeypatch, "experiment=own")
    assert cfg.hydra.sweeper.params.name == '"1.10","1.20"'


@pytest.mark.parametrize(
    ("argument", "words"),
    {
        "mode.epochs=(1)": ["the value is no number", "'mode.epochs=\"(1)\"'"],
        "my key=1": ["'my key' is no key"],
        "demo": ["expected an override, key=value"],
    }.items(),
)
def test_an_argument_that_cannot_be_read_is_explained(argument, words):
    register_resolvers()
    with pytest.raises(OverrideParseException) as failure:
        overrides.composed(overrides.quoted([argument]))
    explained = overrides.explain(failure.value, [argument])
    assert all(word in explained for word in words)
    assert "hydra.cc" not in explained


@pytest.mark.parametrize(
    ("argument", "hint", "value"),
    [
        ("mode.learning_rate=0,05", r"the number itself type (\S+);", 0.05),
        ("mode.learning_rate=1,2,3", r"takes one, type (.*)", [1, 2, 3]),
        ("+mode.x=1,2", r"takes one, type (.*)", [1, 2]),
    ],
)
def test_values_between_commas_are_explained_and_what_is_to_type_is_read(argument, hint, value):
    register_resolvers()
    with pytest.raises(ConfigCompositionException) as failure:
        overrides.composed(overrides.quoted([argument]))
    explained = overrides.explain(failure.value, [argument])
    assert "add -m" in explained
    (typed,) = shlex.split(re.search(hint, explained)[1])
    key = typed.partition("=")[0].lstrip("+")
    assert OmegaConf.select(overrides.composed(overrides.quoted([typed])), key) == value


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/../b"])
def test_names_of_no_folder_are_refused(name):
    with pytest.raises(Refused, match="expected a name for the run's folder"):
        overrides.refuse_before_composing(overrides.quoted([f"name={name}"]))


def test_a_key_that_some_jobs_of_a_sweep_lack_is_named_with_the_options_that_lack_it():
    register_resolvers()
    sweep = ["-m", "dataset=digits", "method=nir,fsgl,dive", "sampler.n_episodes=2"]
    with pytest.raises(HydraException) as failure:
        overrides.composed(["dataset=digits", "method=fsgl", "sampler.n_episodes=2"])
    said = overrides.explain(failure.value, sweep)
    assert said.startswith("sampler.n_episodes is not in the configuration of every job")
    assert "(not in that of method=fsgl):" in said
