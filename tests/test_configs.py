"""Every printed command composes; every option of every group is what its file says."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.quick_cases import mostly_slow
from vmf_embeddings.cli import assembly

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
    assembly.register_resolvers()
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


def is_composed_by_default(line: str) -> bool:
    """Commands of second stages and without a recipe, scripts, and a sixth of the others."""
    return "experiment=" not in line or printed_commands().index(line) % 6 == 0


@pytest.mark.parametrize("line", mostly_slow(printed_commands(), is_composed_by_default))
def test_printed_command_composes_or_names_an_existing_script(line):
    module, *arguments = shlex.split(line.replace("<", "").replace(">", ""))
    assert find_spec(module) is not None, module
    if module != "vmf_embeddings.main" or "--help" in arguments:
        return
    if "--config-dir" in arguments:
        return  # options that the page itself writes: tests/docs runs these commands
    overrides = [a for a in arguments if a not in ("-m", "--multirun") and "$" not in a]
    if "-m" in arguments or "--multirun" in arguments:  # how jobs are made and run is Hydra's
        own = [a for a in overrides if not re.match(r"hydra[./]|[^=]+=\w+\(", a)]
        overrides = [a.split(",")[0] for a in own]
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
    if path.stem == "demo" or path.stem.startswith("own_"):  # on data of one's own
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


@pytest.mark.parametrize("group", sorted(assembly.ALLOWED))
def test_every_target_is_on_the_list(group):
    for path in (CONF / group).glob("*.yaml"):
        node = OmegaConf.load(path)
        assembly.checked_target(group, node.get("params", node)["_target_"])


def test_jobs_of_a_sweep_over_what_2021_left_out_get_folders_of_their_own():
    names = {
        assembly.sweep_folder(f"arch.params.kappa_confidence={kappa},sampler.n_samples={n}")
        for kappa in (0.4, 0.7)
        for n in (4, 8)
    }
    assert len(names) == 4
    excluded = OmegaConf.load(CONF / "config.yaml").hydra.job.config.override_dirname.exclude_keys
    in_the_path = {"name", "dataset", "method", "arch.params.embedding_dim"}
    not_about_training = {"mode", "run", "split", "resume", "num_workers"}
    assert set(excluded) == in_the_path | not_about_training


# pages whose tables hold overrides: from the second column on, in how many columns
TABLES = {"long-tail-flags": 1, "metric-learning-flags": 2}


def commands_of_tables(page: str) -> list[dict[str, str]]:
    """Overrides in the tables of a page, by key; cells that do not contradict share a command."""
    rows = re.findall(r"^\| (.*) \|$", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE)
    texts = [" ".join(row.split(" | ")[1 : 1 + TABLES[page]]) for row in rows]
    cells = [cell for text in texts for cell in re.findall(r"`([a-z_.@]+=[^`]+)`", text)]
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


@pytest.mark.parametrize("page", TABLES)
def test_every_override_of_a_table_composes_and_means_what_it_says(page):
    for words in commands_of_tables(page):
        cfg = composed([f"{key}={value}" for key, value in words.items() if key != "run"])
        for key in words.keys() - {"run", "experiment"}:
            chosen = OmegaConf.select(cfg, key.rpartition("@")[2])
            name = chosen.name if isinstance(chosen, DictConfig) else chosen
            assert name == yaml.safe_load(words[key]), words


def recipe(stem: str) -> DictConfig:
    """What an experiment says, with the experiments it builds on; groups by `/group`."""
    node = OmegaConf.load(CONF / "experiment" / f"{stem}.yaml")
    defaults = node.pop("defaults")
    parents = [recipe(one) for one in defaults if isinstance(one, str) and one != "_self_"]
    chosen = {
        key.removeprefix("override "): option
        for one in defaults
        if isinstance(one, DictConfig)
        for key, option in one.items()
    }
    return OmegaConf.merge(*parents, chosen, node)


SIZES = {"nir": (128, None), "nir_128_double": (128, "double"), "nir_512": (512, None)}
SIZES |= {"nir_512_double": (512, "double"), "nir_control": (128, None)}


@pytest.mark.parametrize(
    ("dataset", "w_align", "flow_lr_factor", "epochs", "warmup_epochs"),
    (("cub200", 0.0075, 50, 100, 1), ("cars196", 0.01, 50, 100, 1), ("sop", 0.3, 1, 300, 5)),
)
def test_runs_published_with_nir_are_recipes_of_the_same_values(
    dataset, w_align, flow_lr_factor, epochs, warmup_epochs
):
    """And so are the baseline and the matched control that belong beside them."""
    for name in (*SIZES, "proxy_anchor"):
        said = recipe(f"{dataset}_{name}")
        assert (said["/dataset"], said["/method"]) == (dataset, "nir" if name in SIZES else "dml")
        assert (said["/arch"], said["/optimizer"], said.random_seed) == ("resnet50", "adam", 0)
        size = {"embedding_dim": SIZES.get(name, (128, None))[0]}
        size |= {"pool": "double"} if name.endswith("double") else {}
        net = {"normalize": True, "set_bn_eval": True, "pretrained": True, "first_conv_3x3": False}
        assert said.arch.params == net | size
        assert said["/sampler"] == "class_random"
        assert said.sampler == {"batch_size": 90, "n_samples": 2}
        rates = {"learning_rate": 1e-5, "weight_decay": 4e-4, "class_weight_decay": "all"}
        lengths = {"epochs": epochs, "patience": epochs}
        lengths |= {"warmup_epochs": warmup_epochs} if name in SIZES else {}
        assert said.mode == rates | lengths and said.dataset.params == {"augment": "base"}
        drops = {"warmup": 0, "milestones": [140, 230], "gamma": 0.2}
        assert said["/schedule"] == ("multistep" if dataset == "sop" else "constant")
        assert said.get("schedule") == ({"params": drops} if dataset == "sop" else None)
        weights = {"w_align": w_align, "flow_lr_factor": flow_lr_factor}
        weights |= {"w_flow": 0} if name == "nir_control" else {}
        assert OmegaConf.select(said, "method.params", default={}) == (
            weights if name in SIZES else {}
        )


def test_defaults_that_recipes_leave_alone_are_the_published_ones():
    nir = OmegaConf.load(CONF / "method" / "nir.yaml").params
    flow = {"blocks": 5, "depth": 8, "width": 128, "clamp": 2, "cond_mode": "dense"}
    assert nir.flow == flow | {"init": "default"} and nir.flow_objective == "exp"
    assert (nir.w_flow, nir.noise, nir.logmatch, nir.pair_perc) == (1, 0, 1, 1)
    anchor = OmegaConf.load(CONF / "criterion" / "proxy_anchor.yaml").params
    assert (nir.proxy_lr_factor, nir.flow_lr_factor, anchor.lr_factor) == ("auto",) * 3
    assert anchor.average == "samples"
    assert (anchor.pos_alpha, anchor.neg_alpha) == (32, 32)
    assert (anchor.pos_delta, anchor.neg_delta) == (0.1, -0.1)
