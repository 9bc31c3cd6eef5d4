"""One objective, several ways: in one's own loop, in a training on a file, through a network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.datasets.test_features import FORMATS, write
from tests.quick_cases import mostly_slow
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.datasets import Digits, Features
from vmf_embeddings.training.fit import fit

N, F, C, RATE = 240, 64, 10, 0.1
OPTIONS = {
    **dict.fromkeys(("embeddings", "labels", "split", "open_set")),
    **{"valid_share": 0.15, "test_share": 0.2, "standardize": False, "margin_warmup_epochs": 0},
}
PLAIN = (
    *("optimizer=sgd", "schedule=constant", f"mode.learning_rate={RATE}", "mode.epochs=1"),
    *("sampler=random", "sampler.batch_size=32", "trainer.cpu=true", "trainer.threads=1"),
    "num_workers=0",
)
ON_FILE = (*PLAIN, "dataset=features")


def digits(n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in 0..1, labels and splits of some of scikit-learn's digits."""
    data = load_digits()
    splits = np.array(["train", "train", "train", "valid", "test"])[np.arange(n) % 5]
    return (data.data[:n] / 16).astype(np.float32), data.target[:n].astype(np.int64), splits


def trained(path: Path, folder: Path, *words: str) -> dict[str, torch.Tensor]:
    """The weights after a training on a file."""
    folder.mkdir(parents=True, exist_ok=True)
    app.train(composed([*ON_FILE, f"dataset.params.dataset_path={path}", *words]), folder)
    return torch.load(folder / "last.pt", weights_only=True)["method_state_dict"]


CLOSED_SET = ("normalized_sce", "unnormalized_sce", "arcface", "classifier")


@pytest.mark.parametrize("name", mostly_slow(CLOSED_SET, ("arcface", "classifier")))
def test_ones_own_loop_and_training_on_a_file_end_with_the_same_weights(
    name, tmp_path, monkeypatch
):
    rows, labels, splits = digits()
    path = write(tmp_path / "a.npz", rows, labels, splits)
    words = [f"method={name}", "arch=identity"]
    job = assembly.training_job(
        composed([*ON_FILE, f"dataset.params.dataset_path={path}", *words]), tmp_path
    )
    options = {} if name == "classifier" else {"learn_temp": False}
    loss_fn = vmf.objective(name, embedding_dim=F, n_classes=C, **options)
    state = job.method.state_dict()
    start = {key: state[key].clone() for key in state if not key.startswith("arch.")}
    loss_fn.method.load_state_dict(start)

    mine = torch.from_numpy(rows[splits == "train"]), torch.from_numpy(labels[splits == "train"])
    optimizer = torch.optim.SGD(loss_fn.parameters(), lr=RATE)
    job.sampler.set_epoch(0)
    for indices in job.sampler:
        optimizer.zero_grad()
        loss_fn(mine[0][indices], mine[1][indices]).backward()
        optimizer.step()

    fit(job)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMF_RUNS", str(tmp_path / "runs"))
    run = vmf.train([*PLAIN, *words], dataset=Features(path, **OPTIONS))
    for key in start:
        own = loss_fn.method.state_dict()[key]
        torch.testing.assert_close(job.method.state_dict()[key], own, rtol=1e-5, atol=1e-7)
        assert torch.equal(run.module.state_dict()[key], job.method.state_dict()[key])
    assert any(not torch.equal(first, loss_fn.method.state_dict()[k]) for k, first in start.items())


def test_loss_and_gradient_of_vmf_are_those_of_the_objective(tmp_path):
    rows, labels, splits = digits()
    path = write(tmp_path / "a.csv", rows, labels, splits)
    words = ["method=vmf_softmax", "arch=identity", f"dataset.params.dataset_path={path}"]
    job = assembly.training_job(composed([*ON_FILE, *words]), tmp_path)
    batch = job.dataset.split("train").batch(torch.arange(16))
    loss_fn = vmf.objective("vmf_softmax", embedding_dim=F, n_classes=C)
    loss_fn.method.load_state_dict(job.method.state_dict(), strict=False)
    given = torch.from_numpy(rows[splits == "train"][:16]), labels[splits == "train"][:16]
    losses = []
    for loss in (
        lambda: job.method(batch),
        lambda: loss_fn(given[0], torch.from_numpy(given[1])),
    ):
        torch.manual_seed(0)
        losses.append(loss())
        losses[-1].backward()
    assert torch.equal(*losses)
    one, other = job.method.class_weights.grad, loss_fn.class_weights.grad
    assert one.abs().sum() > 0 and torch.equal(one, other)


def test_the_format_of_the_file_does_not_change_a_bit_of_the_weights(tmp_path):
    rows, labels, _ = digits()
    words = ("arch=mlp", "arch.params.hidden=[16]", "method=classifier")
    words += ("dataset.params.standardize=true",)
    states = [
        trained(write(tmp_path / f"a{end}", rows, labels), tmp_path / end, *words)
        for end in FORMATS
    ]
    for state in states[1:]:
        assert all(torch.equal(states[0][key], state[key]) for key in states[0])


def test_a_head_on_a_file_of_features_is_the_head_on_the_frozen_network(tmp_path):
    """Both have the same first weights and batches; features are those of the network."""
    of_images = ("dataset=digits", "arch=n_digit_mnist", "arch.params.frozen=true")
    images = assembly.training_job(
        composed([*PLAIN, *of_images, "method=normalized_sce", "trainer.feature_cache=off"]),
        tmp_path / "images",
    )
    (tmp_path / "images").mkdir()
    data, arch, parts = Digits(margin_warmup_epochs=0, views=1), images.method.arch.eval(), []
    for name in ("train", "valid", "test"):
        split = data.split(name)
        with torch.no_grad():
            features = arch.features(split.batch(torch.arange(len(split)))["examples"])
        parts.append((features.numpy(), split.labels.numpy(), np.full(len(split), name)))
    rows, labels, splits = (np.concatenate(values) for values in zip(*parts, strict=True))
    path = write(tmp_path / "a.npz", rows, labels, splits)
    words = ["arch=linear", "arch.params.embedding_dim=3", f"dataset.params.dataset_path={path}"]
    vectors = assembly.training_job(
        composed([*ON_FILE, *words, "method=normalized_sce"]), tmp_path / "vectors"
    )
    (tmp_path / "vectors").mkdir()
    shared = [key for key in vectors.method.state_dict() if "input_" not in key]
    vectors.method.load_state_dict(
        {key: images.method.state_dict()[key] for key in shared}, strict=False
    )
    fit(images), fit(vectors)
    for key in shared:
        one, other = images.method.state_dict()[key], vectors.method.state_dict()[key]
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


MEASURE = """
import sys, threading, time
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
most = [0.0]
def watch():
    while True:
        most[0] = max(most[0], anonymous())
        time.sleep(0.01)
from tests.cli.test_second_stage import composed
from vmf_embeddings.cli import app
from pathlib import Path
threading.Thread(target=watch, daemon=True).start()
app.train(composed(sys.argv[2:]), Path(sys.argv[1]))
print(most[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_training_on_a_mapped_file_does_not_load_it(tmp_path):
    most = []
    for n in (2_000, 100_000):
        rows = np.random.default_rng(0).normal(size=(n, 512)).astype(np.float32)
        path = write(tmp_path / f"{n}.npy", rows, np.arange(n) % 7)
        (tmp_path / str(n)).mkdir()
        words = [*ON_FILE, "arch=linear", "method=normalized_sce", "sampler.batch_size=256"]
        words += [f"dataset.params.dataset_path={path}", "dataset.params.standardize=true"]
        command = [sys.executable, "-c", MEASURE, str(tmp_path / str(n)), *words]
        home = Path(__file__).parents[2]
        done = subprocess.run(command, capture_output=True, text=True, cwd=home)
        assert done.returncode == 0, done.stderr
        most.append(float(done.stdout.split()[-1]))
        megabytes = rows.nbytes / 2**20
    assert megabytes > 190
    assert most[1] - most[0] < 60, json.dumps(most)
