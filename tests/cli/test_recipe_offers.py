"""What the head of a recipe offers, such as `loss=…` or `mode.select=test`, composes and starts."""

import math
import re

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.quick_cases import mostly_slow
from vmf_embeddings import catalogue
from vmf_embeddings.cli import app, assembly, overrides
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.overrides import composed

RECIPES = {path.stem: path for path in sorted((catalogue.CONF / "experiment").glob("*.yaml"))}
SMALL = ("demo", "digits_open", "mnist_open", "digits_lt", "mnist_lt")  # offer whole groups
OFFER = re.compile(r"(?<![\w.])([a-z_]+(?:\.[a-z_]+)*)=(…|[^\s,;()]*[^\s,;().:])")
KINDS_OF_VALUE = re.compile(r"[A-Z]+")  # as in arch.params.weights=FILE
OPTIONAL = {"pml": "pytorch_metric_learning"}
SEVERAL_VIEWS = ("bcl", "fsgl", "paco", "proco")  # digits_open makes one
LATER = {"head": ("lws", "ncm", "vmf_bayes"), "method": ("dive",)}  # need a trained run


def head_of(name: str) -> str:
    """The comments at the top of a recipe, without its command."""
    lines = RECIPES[name].read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("#") and "python -m" not in line)


def offers(name: str) -> list[tuple[str, str]]:
    return OFFER.findall(head_of(name))


def cfg_of(*words: str) -> DictConfig:
    assembly.register_resolvers()
    cfg = composed([*words, "trainer.cpu=true", "trainer.threads=1", "mode.epochs=1"])
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    cfg.num_workers = 0
    return cfg


# those that offer whole groups, and one of each family of methods
QUICK_RECIPES = (*SMALL, "cub200_nir", "inat2018_cb", "cifar100_lt_bbn", "mnist_vmf_softmax")


@pytest.mark.parametrize("name", mostly_slow(RECIPES, QUICK_RECIPES))
def test_every_key_and_value_in_the_head_of_a_recipe_composes(name):
    """Neighbours such as `sampler.power=0.2 method.params.label_weighting=1.0` as one command."""
    plain = cfg_of(f"experiment={name}")
    text = re.sub(r"run=[A-Z]+", "", head_of(name))
    for command in re.finditer(rf"(?:{OFFER.pattern} ?)+", text):
        pairs = OFFER.findall(command[0])
        kinds = [key for key, value in pairs if value == "…" or KINDS_OF_VALUE.fullmatch(value)]
        assert all(key in plain or OmegaConf.select(plain, key, default=0) != 0 for key in kinds)
        values = [f"{key}={value}" for key, value in pairs if key not in (*kinds, "experiment")]
        experiment = dict(pairs).get("experiment", name)
        assert experiment in RECIPES
        assert cfg_of(f"experiment={experiment}", *values)


def test_small_recipes_offer_whole_groups():
    found = {name: {key for key, value in offers(name) if value == "…"} for name in SMALL}
    assert found["digits_open"] == found["mnist_open"] == {"criterion", "miner", "method"}
    assert found["digits_lt"] == found["mnist_lt"] == {"loss", "head", "method"}


def offered(name: str) -> list[tuple[str, ...]]:
    """The overrides of each offer of `name` whose data need no download, with all options."""
    found = []
    for group in [key for key, value in offers(name) if value == "…" and key != "miner"]:
        options = [o for o in catalogue.names(group) if o not in LATER.get(group, ())]
        for option in options:
            if name == "digits_open" and option in SEVERAL_VIEWS:
                continue  # its head says so
            also = ("head=cosine",) if option == "ldam" else ()
            found.append((f"experiment={name}", f"{group}={option}", *also))
    return found


ALL = [*offered("digits_open"), *offered("digits_lt")]
ALL += [
    ("experiment=digits_open", "method=nir", f"criterion={criterion}")
    for criterion in ("proxy_anchor", "proxy_anchor_nca", "proxy_nca", "soft_triple")
]


def build(words: tuple[str, ...], tmp_path):
    for word in words:
        pytest.importorskip(OPTIONAL.get(word.removeprefix("method="), "torch"))
    return assembly.training_job(cfg_of(*words), tmp_path)


@pytest.mark.parametrize("at", mostly_slow(range(len(ALL)), range(0, len(ALL), 3)))
def test_what_a_small_recipe_offers_is_built(at, tmp_path):
    words = ALL[at]
    job = build(words, tmp_path)
    group, _, option = words[1].partition("=")
    assert job.config[group]["name"] == option


@pytest.mark.slow
@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_what_a_small_recipe_offers_trains(words, tmp_path):
    build(words, tmp_path)
    assert math.isfinite(app.train(cfg_of(*words), tmp_path))


@pytest.mark.parametrize("criterion", [(), ("criterion=proxy_anchor",)])
def test_nir_trains_on_the_small_open_set_with_no_further_key(criterion, tmp_path):
    cfg = cfg_of("experiment=digits_open", "method=nir", *criterion)
    assert cfg.criterion.name == "proxy_anchor" and cfg.miner.name == "none"
    assert app.train(cfg, tmp_path) > 0.9


def test_options_of_a_typed_method_count_above_those_of_an_experiment_of_another():
    assert cfg_of("experiment=digits_open").criterion.name == "multisimilarity"
    assert cfg_of("experiment=digits_open", "method=dml").criterion.name == "multisimilarity"
    fsgl = cfg_of("experiment=digits_lt", "method=fsgl")
    assert (fsgl.sampler.name, fsgl.feature_scaling.name) == ("paired", "logfreq")
    assert fsgl.dataset.params.views == 2


def test_options_that_an_experiment_has_for_its_own_method_count_above_those_of_the_method():
    """GLMC is FSGL without feature scaling; `cars196_nir` builds on `cub200_nir`."""
    glmc = cfg_of("experiment=cifar10_lt_glmc", "method=fsgl")
    assert glmc.feature_scaling.name == "none"
    control = cfg_of("experiment=cub200_nir_control", "method=nir")
    assert control == cfg_of("experiment=cub200_nir_control")


def test_what_is_typed_counts_above_both():
    cfg = cfg_of("experiment=digits_open", "method=nir", "criterion=soft_triple")
    assert cfg.criterion.name == "soft_triple"


def test_a_flow_that_must_diverge_is_refused_before_training_with_what_to_type(tmp_path):
    typed = ("experiment=digits_open", "method=nir", "method.params.flow_lr_factor=50")
    with (
        pytest.raises(Refused, match=r"type method.params.flow_lr_factor=0\.5"),
        assembly.refusals(),
    ):
        assembly.training_job(cfg_of(*typed), tmp_path)
    assembly.training_job(cfg_of(*typed[:2], "method.params.flow_lr_factor=0.5"), tmp_path)


@pytest.mark.parametrize("typed", ["40", "0.5", "1e3", "auto", "null"])
def test_a_factor_is_a_number_or_a_word_as_it_was_typed(typed):
    words = ["experiment=digits_open", "method=nir", f"method.params.proxy_lr_factor={typed}"]
    factor = cfg_of(*overrides.quoted(words)).method.params.proxy_lr_factor
    assert factor == ({"auto": "auto", "null": None}[typed] if typed.isalpha() else float(typed))


def test_views_are_not_advised_where_a_data_set_has_none(tmp_path):
    with pytest.raises(Refused, match="dataset=digits_open makes one only"):
        assembly.training_job(cfg_of("experiment=digits_open", "method=fsgl"), tmp_path)
