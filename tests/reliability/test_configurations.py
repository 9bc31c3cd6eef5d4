"""Damaged configurations, stored or given, work or are refused by name; no trace."""

import contextlib
import copy
import functools
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.reliability.mutations import ODD_VALUES, changed_text, changed_tree, damaged
from tests.reliability.trial import End, contents, succeeds, trial
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.extract import extract

SHORT = ("dataset=digits", "method=normalized_sce", "mode.epochs=1", "sampler.n_episodes=2",
         "mode.learning_rate=0.1", "arch.params.embedding_dim=3", "num_workers=0")  # fmt: skip
RUN = "runs/digits/normalized_sce/3dim/run_1"
PER_BLOCK = 20
OWN_KEYS = (
    *("mode.epochs", "mode.learning_rate", "mode.momentum", "mode.patience", "mode.select"),
    *("mode.evaluate_on", "mode.evaluate_k", "mode.warmup_epochs", "mode.nesterov", "name", "run"),
    *("random_seed", "num_workers", "split", "resume", "search", "arch.params.embedding_dim"),
    *("arch.params.n_classes", "arch.params.learn_temp", "arch.params.use_vmf", "arch", "method"),
    *("sampler.n_episodes", "sampler.n_classes", "sampler", "optimizer", "schedule", "trainer"),
    *("trainer.precision", "trainer.threads", "trainer.eval_batch_size", "dataset", "head", "loss"),
    *("dataset.params.views", "experiment", "stages", "logger", "mode", "mode.plateau_factor"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with one trained run."""
    folder = tmp_path_factory.mktemp("home")
    succeeds("train", *SHORT, cwd=folder)
    return folder


def composed(*words: str) -> DictConfig:
    """The configuration of a command."""
    return copy.deepcopy(_composed(words))


@functools.cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(words))


def ended(work: Callable[[], object]) -> End:
    """How a command ends that does this work, after its configuration is composed."""
    errors = io.StringIO()
    code = 0
    with contextlib.redirect_stderr(errors):
        try:
            work()
        except Exception as error:  # as `app.run` does
            code = app.report(error)
    return End(code, "", errors.getvalue(), 0.0)


def extraction(folder: Path) -> End:
    """The end of `mode=get_embeddings run=RUN`."""

    def work() -> None:
        with assembly.refusals():
            job = assembly.extraction_job(cfg, folder / RUN, ["mode=get_embeddings"])
        extract(job)

    cfg = composed("mode=get_embeddings", "num_workers=0")
    return ended(work)


def resumed(folder: Path) -> End:
    """The end of the training's command with one more epoch."""
    cfg = composed(*SHORT, "mode.epochs=2")
    return ended(lambda: app.train(cfg, folder / RUN))


def of_checkpoint(folder: Path, rng: random.Random) -> End:
    """The configuration in the checkpoint is changed; then extraction, or the same training."""
    run = folder / RUN
    resumes = rng.random() < 0.4
    for path in [run / "last.pt"] if resumes else run.glob("model_*.pt"):
        state = torch.load(path, weights_only=True)
        kind = rng.random()
        if kind < 0.75:
            state["config"] = json.dumps(changed_tree(json.loads(state["config"]), rng))
        elif kind < 0.9:
            text = damaged(state["config"].encode(), rng).decode("utf-8", errors="replace")
            state["config"] = text
        else:
            state["config"] = rng.choice([x for x in ODD_VALUES if not isinstance(x, set)])
        torch.save(state, path)
    return resumed(folder) if resumes else extraction(folder)


def of_state(folder: Path, rng: random.Random) -> End:
    """Other values of the checkpoint are changed, or its bytes; then training goes on."""
    path = folder / RUN / "last.pt"
    if rng.random() < 0.4:
        path.write_bytes(damaged(path.read_bytes(), rng))
    else:
        state = torch.load(path, weights_only=True)
        key = rng.choice([k for k in sorted(state) if k != "config"])
        state[key] = changed_tree({key: state[key]}, rng).get(key)
        torch.save(state, path)
    return resumed(folder)


def of_2021(folder: Path, rng: random.Random) -> End:
    """The yaml beside a checkpoint without configuration is changed; then extraction."""
    run = folder / RUN
    for path in run.glob("*.pt"):
        state = torch.load(path, weights_only=True)
        state.pop("config")
        torch.save(state, path)
    path = run / ".hydra_train" / "config.yaml"
    write_yaml(path, path.read_text(), rng)
    return extraction(folder)


def of_folder(folder: Path, rng: random.Random) -> End:
    """An option in a folder given by `--config-dir` is changed; then training."""
    group, name = rng.choice(
        (("method", "normalized_sce"), ("dataset", "digits"), ("arch", "n_digit_mnist"),
         ("sampler", "episodic"), ("optimizer", "sgd"), ("mode", "train"), ("schedule", "plateau"))
    )  # fmt: skip
    path = folder / "own" / group / "mine.yaml"
    path.parent.mkdir(parents=True)
    write_yaml(path, (CONF / group / f"{name}.yaml").read_text(), rng)
    words = [word for word in SHORT if word.split("=")[0] != group]
    return trial(
        "train", *words, "--config-dir", "own", f"{group}=mine", cwd=folder, kill_after=SECONDS
    )


def write_yaml(path: Path, text: str, rng: random.Random) -> None:
    """Writes a yaml text with its values or its characters changed."""
    if rng.random() < 0.6:
        tree = changed_tree(yaml.safe_load(text), rng)
        head = text if text.startswith("# @package") else ""
        path.write_text(head.partition("\n")[0] + "\n" + yaml.safe_dump(tree, allow_unicode=True))
    else:
        path.write_bytes(changed_text(text, rng))


def of_overrides(folder: Path, rng: random.Random) -> End:
    """One to two overrides have odd values; then training, extraction or a second stage."""
    shown = [str(value).lower() if value is None else str(value) for value in ODD_VALUES]
    shown = [value for value in shown if "\x00" not in value]  # no command line has these
    odd = [f"{rng.choice(('', '', '', '+', '++', '~'))}{rng.choice(OWN_KEYS)}={rng.choice(shown)}"
           for _ in range(rng.choice((1, 1, 2)))]  # fmt: skip
    if rng.random() < 0.3:
        return trial(
            "train", "mode=get_embeddings", f"run={RUN}", *odd, cwd=folder, kill_after=SECONDS
        )
    return trial("train", *SHORT, "resume=never", *odd, cwd=folder, kill_after=SECONDS)


STORED = (of_checkpoint, of_checkpoint, of_state, of_2021)
GIVEN = (of_folder, of_overrides, of_overrides)
SECONDS = 60  # then a command works on what was asked for, such as two billion epochs


def fault_of(home: Path, folder: Path, sources: tuple, seed: int) -> str:
    """What is wrong with how one damaged configuration is met; empty if nothing is."""
    shutil.copytree(home, folder)
    rng = random.Random(seed)
    source = rng.choice(sources)
    end = source(folder, rng)
    files = contents(folder)
    if source in (of_checkpoint, of_2021) and end.code and set(files) < set(contents(home)):
        return f"{source.__name__}: files were lost"
    parts = [name for name in files if name.endswith(".part")]
    at_work = end.code == -9 and "Training starts" in end.output
    fault = "" if at_work else end.fault or (f"left over: {parts}" if parts else "")
    return fault and f"{source.__name__} in {folder}: {fault}"


def faults_of_block(home: Path, folder: Path, sources: tuple, seed: int, n: int) -> list[str]:
    """What is wrong with how `n` damaged configurations of a seed are met."""
    faults = []
    for number in range(n):
        below = folder / str(number)
        fault = fault_of(home, below, sources, 1000 * seed + number)
        if fault:
            faults.append(f"{seed}:{number} {fault}")
        else:
            shutil.rmtree(below)
    return faults


def test_damaged_stored_configurations_work_or_are_refused_by_name(home, tmp_path):
    assert faults_of_block(home, tmp_path, STORED, 0, 8) == []


def test_damaged_given_configurations_work_or_are_refused_by_name(home, tmp_path):
    assert faults_of_block(home, tmp_path, GIVEN, 0, 3) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_160_damaged_stored_configurations_work_or_are_refused_by_name(home, tmp_path, seed):
    assert faults_of_block(home, tmp_path, STORED, seed, PER_BLOCK) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11, 15))
def test_40_damaged_given_configurations_work_or_are_refused_by_name(home, tmp_path, seed):
    assert faults_of_block(home, tmp_path, GIVEN, seed, PER_BLOCK // 2) == []
