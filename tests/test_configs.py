"""Every printed command composes; every option of every group is what its file says."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from vmf_embeddings import build

ROOT = Path(__file__).parents[1]
CONF = ROOT / "vmf_embeddings" / "conf"
DOCUMENTS = [ROOT / "README.md", ROOT / "run.sh", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = (
    "arch",
    "method",
    "head",
    "loss",
    "miner",
    "feature_scaling",
    "dataset",
    "sampler",
    "mode",
    "optimizer",
    "schedule",
    "trainer",
    "logger",
)


ROWS_OF_2021 = {
    f"{name}_vmf_softmax"
    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "cars196", "cub200", "sop")
} | {
    f"mnist_{method}"
    for method in ("unnormalized_sce", "hyperbolic_sce", "normalized_sce", "arcface")
}


def printed_commands() -> list[str]:
    """All `python -m …` of the documentation and of run.sh, continuation lines joined."""
    found = []
    for path in DOCUMENTS:
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        found += re.findall(r"python -m (vmf_embeddings\.[^\n`#]+)", text)
    return sorted(set(found))


def composed(overrides: list[str]):
    build.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides)


def test_documentation_prints_the_commands_of_2021():
    text = " ".join(printed_commands())
    for name in "mnist fashion_mnist cifar10 cifar100 cars196 cub200 sop".split():
        assert f"dataset={name}" in text
    assert len(printed_commands()) > 30


def plain(value: object) -> str:
    """Without what YAML does not need: quotes, spaces, capitals."""
    return re.sub(r"""["' ]""", "", str(value)).lower()


@pytest.mark.parametrize("line", printed_commands())
def test_printed_command_composes_or_names_an_existing_script(line):
    module, *arguments = shlex.split(line.replace("<", "").replace(">", ""))
    assert find_spec(module) is not None, module
    if module != "vmf_embeddings.main" or "--help" in arguments:
        return
    overrides = [a for a in arguments if a not in ("-m", "--multirun") and "$" not in a]
    if "-m" in arguments or "--multirun" in arguments:
        overrides = [a.split(",")[0] for a in overrides]
    cfg = composed(overrides)
    for override in overrides:
        key, value = override.split("=", 1)
        if "." in key and "@" not in key:
            assert plain(OmegaConf.select(cfg, key)) == plain(value)


@pytest.mark.parametrize(
    "path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem
)
def test_experiment_composes_and_opens_with_its_command(path):
    head = path.read_text().splitlines()[1]
    assert head.startswith(f"# python -m vmf_embeddings.main experiment={path.stem}")
    cfg = composed([f"experiment={path.stem}"])
    if path.stem == "demo":
        return
    if path.stem in ROWS_OF_2021:
        assert path.stem == f"{cfg.dataset.name}_{cfg.method.name}"
    assert path.stem.startswith(cfg.dataset.name)
    assert "\n# Published" in path.read_text()


def test_all_rows_of_2021_are_experiments():
    assert {path.stem for path in (CONF / "experiment").glob("*.yaml")} >= ROWS_OF_2021


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_named_like_its_file_and_says_what_it_is(group):
    for path in (CONF / group).glob("*.yaml"):
        assert path.read_text().startswith("# "), path
        assert OmegaConf.load(path).name == path.stem


@pytest.mark.parametrize("group", sorted(build.ALLOWED))
def test_every_target_is_on_the_list(group):
    for path in (CONF / group).glob("*.yaml"):
        node = OmegaConf.load(path)
        build.check_target(group, node.get("params", node)["_target_"])


def test_jobs_of_a_sweep_over_what_2021_left_out_get_folders_of_their_own():
    names = {
        build.sweep_folder(f"arch.params.kappa_confidence={kappa},sampler.n_samples={n}")
        for kappa in (0.4, 0.7)
        for n in (4, 8)
    }
    assert len(names) == 4
    excluded = OmegaConf.load(CONF / "config.yaml").hydra.job.config.override_dirname.exclude_keys
    in_the_path = {"name", "dataset", "method", "arch.params.embedding_dim"}
    not_about_training = {"mode", "run", "split", "resume", "num_workers"}
    assert set(excluded) == in_the_path | not_about_training


def commands_of_the_table_of_flags() -> list[dict[str, str]]:
    """Overrides in the column "here", by key; cells that do not contradict share a command."""
    rows = (ROOT / "docs" / "long-tail-flags.md").read_text().splitlines()
    here = [row.split(" | ")[1] for row in rows if row.count(" | ") >= 2 and "`" in row]
    cells = [cell for text in here for cell in re.findall(r"`([a-z_.]+=[^`]*)`", text)]
    assert len(cells) > 50
    commands: list[dict[str, str]] = []
    for cell in cells:
        words = dict(word.split("=", 1) for word in shlex.split(cell))
        for command in (c for c in commands if "experiment" not in {*c, *words}):
            if all(command.get(key, value) == value for key, value in words.items()):
                command |= words
                break
        else:
            commands.append(words)
    return commands


def test_every_override_of_the_table_of_flags_composes():
    for words in commands_of_the_table_of_flags():
        cfg = composed([f"{key}={value}" for key, value in words.items() if key != "run"])
        for key in words.keys() - {"run", "experiment"}:
            chosen = OmegaConf.select(cfg, key)
            name = chosen.name if isinstance(chosen, DictConfig) else chosen
            assert str(name).lower() == words[key].lower(), words
