"""A training that is ended inside an epoch goes on there, and ends with the same bits."""

import json
import os
import signal
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_second_stage import composed
from tests.cli.test_training_job import flat
from tests.training.few_digits import NET
from vmf_embeddings.cli import app, overrides
from vmf_embeddings.datasets.digits import read_digits
from vmf_embeddings.training import checkpoint, interruption, mid_epoch, run_status
from vmf_embeddings.training.interruption import Interrupted
from vmf_embeddings.training.step import Step
from vmf_embeddings.untrusted.refused import Refused

BASE = [
    *(*NET, "num_workers=0", "mode.epochs=2", "mode.learning_rate=0.05", "mode.momentum=0.9"),
    *("schedule=constant", "mode.evaluate_on=[]"),
]
VMF = ["method=vmf_softmax", "arch.params.use_vmf=True"]  # its loss draws random numbers
RUNS = {
    "episodes": [*BASE, *VMF, "dataset=digits", "sampler=episodic", "sampler.n_episodes=6"],
    "augmented in memory": [
        *(*BASE, *VMF, "dataset=digits_lt", "dataset.params.augment=shift"),
        *("sampler=random", "sampler.batch_size=200"),
    ],
    "augmented files": [
        *(*BASE, "dataset=folder", "method=classifier", "dataset.params.augment=cifar"),
        *("dataset.params.image_size=28", "sampler=random", "sampler.batch_size=24"),
        *("arch=resnet32", "arch.params.embedding_dim=64"),
    ],
    "in parts": [
        *(*BASE, "dataset=digits_open", "method=dml", "criterion=margin", "miner=distance"),
        *("sampler=episodic", "sampler.n_episodes=6", "trainer.micro_batches=3"),
    ],
    "memory": [
        *(*BASE, "dataset=digits_open", "method=dml", "criterion=contrastive"),
        *("sampler=class_random", "sampler.batch_size=90", "method.params.memory_size=200"),
    ],
    "sampler of embeddings": [
        *(*BASE, "dataset=digits_open", "method=normalized_sce", "sampler=disthist_batchmatch"),
    ],
}
STOPS = {"episodes": 5, "augmented in memory": 3, "augmented files": 4, "sampler of embeddings": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with 20 digits of each of 10 classes as PNG files."""
    root = tmp_path_factory.mktemp("images")
    pixels, labels = read_digits()
    for number, index in enumerate(np.argsort(labels, kind="stable")):
        folder = root / str(labels[index])
        folder.mkdir(exist_ok=True)
        if len(list(folder.iterdir())) < 20:
            array = pixels[index, 0].numpy()
            Image.fromarray(array).convert("RGB").save(folder / f"{number}.png")
    return root


def train(folder, words):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(99)
    return app.train(composed(words), folder)


def signalled(monkeypatch, every=None, at=(), number=signal.SIGTERM):
    """Lets this process get a signal in some steps of training; returns the steps so far."""
    done, step = [], Step.__call__

    def counted(self, batch, weight):
        loss = step(self, batch, weight)
        done.append(1)
        if len(done) in at or (every and len(done) % every == 0):
            os.kill(os.getpid(), number)
        return loss

    monkeypatch.setattr(Step, "__call__", counted)
    return done


def assert_equal_ends(straight, other):
    ends = [checkpoint.load(folder / "last.pt") for folder in (straight, other)]
    for key in ("method", "optimizer", "scheduler", "sampler"):
        first, second = (flat(end[f"{key}_state_dict"]) for end in ends)
        assert first.keys() == second.keys()
        unequal = [name for name in first if not torch.equal(first[name], second[name])]
        assert not unequal, (key, unequal[:5])
    assert ends[0]["best_epoch"] == ends[1]["best_epoch"]
    rows = [
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()]
        for f in (straight, other)
    ]
    times = ("seconds", "images_per_second", "data_wait")
    first, second = ([{k: v for k, v in r.items() if k not in times} for r in t] for t in rows)
    assert first == second
    assert not (other / checkpoint.INTERRUPTED).exists()


def words_of(name, images):
    words = RUNS[name]
    return [*words, f"dataset.params.dataset_path={images}"] if "files" in name else words


def ends_alike(tmp_path, monkeypatch, words, every):
    """Trains straight on, and again with a signal after every so many steps."""
    train(tmp_path / "straight", words)
    done = signalled(monkeypatch, every=every)
    n_ends = 0
    while n_ends < 20:
        try:
            train(tmp_path / "other", words)
            break
        except Interrupted as end:
            assert end.code == 143
            n_ends += 1
    monkeypatch.undo()
    assert_equal_ends(tmp_path / "straight", tmp_path / "other")
    return n_ends, len(done)


def test_a_run_that_is_ended_again_and_again_ends_with_the_same_bits(tmp_path, monkeypatch):
    n_ends, n_steps = ends_alike(tmp_path, monkeypatch, RUNS["episodes"], 5)
    assert (n_ends, n_steps) == (2, 12)  # no step was done twice


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 3, 4, 6, 7, 11])
@pytest.mark.parametrize("name", RUNS)
def test_every_kind_of_run_may_end_after_any_step(tmp_path, monkeypatch, images, name, every):
    if name == "sampler of embeddings" and every < 7:
        pytest.skip("each attempt begins its epoch again")
    ends_alike(tmp_path, monkeypatch, words_of(name, images), every)


def test_a_memory_of_earlier_batches_goes_on_where_it_was(tmp_path, monkeypatch):
    assert ends_alike(tmp_path, monkeypatch, RUNS["memory"], 5)[0]


@pytest.mark.parametrize("name", ["augmented in memory", "augmented files"])
def test_augmentation_goes_on_where_it_was(tmp_path, monkeypatch, images, name):
    n_ends, _ = ends_alike(tmp_path, monkeypatch, words_of(name, images), STOPS[name])
    assert n_ends


def test_an_epoch_of_a_sampler_of_embeddings_begins_again(tmp_path, monkeypatch):
    words = RUNS["sampler of embeddings"]
    train(tmp_path / "straight", words)
    signalled(monkeypatch, at=[3])
    with pytest.raises(Interrupted):
        train(tmp_path / "other", words)
    assert not list((tmp_path / "other").glob("*.pt"))
    train(tmp_path / "other", words)
    assert_equal_ends(tmp_path / "straight", tmp_path / "other")


def test_sigusr2_ends_a_training_too_and_the_former_handler_is_called_then(tmp_path, monkeypatch):
    came = []
    former = signal.signal(signal.SIGUSR2, lambda number, frame: came.append(number))
    try:
        signalled(monkeypatch, at=[2], number=signal.SIGUSR2)
        with pytest.raises(Interrupted):
            train(tmp_path / "run", RUNS["episodes"])
        assert came == [signal.SIGUSR2]
        assert (tmp_path / "run" / checkpoint.INTERRUPTED).exists()
        os.kill(os.getpid(), signal.SIGUSR2)  # the handler is back
        assert len(came) == 2
    finally:
        signal.signal(signal.SIGUSR2, former)


def test_a_signal_in_the_last_step_lets_the_run_end_and_one_outside_is_not_caught(
    tmp_path, monkeypatch
):
    signalled(monkeypatch, at=[12])
    with pytest.raises(Interrupted):  # saved before the validation, which may take long
        train(tmp_path / "run", RUNS["episodes"])
    monkeypatch.undo()
    train(tmp_path / "straight", RUNS["episodes"])
    train(tmp_path / "run", RUNS["episodes"])
    assert_equal_ends(tmp_path / "straight", tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_save_minutes_keeps_what_a_killed_run_did_inside_its_epoch(tmp_path, monkeypatch):
    words = [*RUNS["episodes"], "trainer.save_minutes=1e-9"]
    train(tmp_path / "straight", RUNS["episodes"])
    done, step = [], Step.__call__

    def killed(self, batch, weight):
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt
        return step(self, batch, weight)

    monkeypatch.setattr(Step, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "other", words)
    monkeypatch.undo()
    done = signalled(monkeypatch)
    train(tmp_path / "other", RUNS["episodes"])  # with another save_minutes
    assert len(done) == 12 - 4
    assert_equal_ends(tmp_path / "straight", tmp_path / "other")


def test_without_a_reason_nothing_is_written_inside_an_epoch(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(mid_epoch.EpochSaver, "_save", lambda *arguments: saved.append(1))
    train(tmp_path / "run", RUNS["episodes"])
    train(tmp_path / "never", [*RUNS["episodes"], "trainer.save_minutes=null"])
    assert not saved


def test_a_checkpoint_inside_an_epoch_that_is_over_is_passed_over(tmp_path, monkeypatch):
    signalled(monkeypatch, at=[2])
    with pytest.raises(Interrupted):
        train(tmp_path / "run", RUNS["episodes"])
    monkeypatch.undo()
    old = (tmp_path / "run" / checkpoint.INTERRUPTED).read_bytes()
    train(tmp_path / "run", RUNS["episodes"])
    (tmp_path / "run" / checkpoint.INTERRUPTED).write_bytes(old)
    assert checkpoint.latest(tmp_path / "run")[0].name == "last.pt"


@pytest.mark.parametrize("broken", ["step", "losses", "generators"])
def test_a_malformed_checkpoint_inside_an_epoch_is_refused(tmp_path, monkeypatch, broken):
    signalled(monkeypatch, at=[2])
    with pytest.raises(Interrupted):
        train(tmp_path / "run", RUNS["episodes"])
    monkeypatch.undo()
    path = tmp_path / "run" / checkpoint.INTERRUPTED
    for value in (None, "x", *([-1, 99] if broken == "step" else [])):
        state = checkpoint.load(path)
        state[mid_epoch.KEY][broken] = value
        checkpoint.save(path, state)
        with pytest.raises(Refused, match=checkpoint.INTERRUPTED):
            train(tmp_path / "run", RUNS["episodes"])


def test_the_status_of_an_interrupted_run_says_so(tmp_path, monkeypatch):
    signalled(monkeypatch, at=[8])
    with (
        pytest.raises(Interrupted),
        run_status.recorded(tmp_path, ("a=1",), str),
    ):
        train(tmp_path, RUNS["episodes"])
    assert run_status.read(tmp_path).state == "interrupted"
    assert run_status.read(tmp_path).epoch == 0


def test_another_thread_trains_without_handlers():
    found = []

    def work():
        with interruption.watched() as watch:
            found.append((watch.former, interruption.is_wanted()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [({}, False)]


def test_save_minutes_may_be_a_fraction_of_a_minute():
    word = "trainer.save_minutes=0.5"
    overrides.check_value_types(composed([word]), [word])
