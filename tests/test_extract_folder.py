"""A folder of embeddings does not depend on who computes its shards, nor on interruptions."""

import json
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.test_extract import SPEED, untrained  # noqa: F401
from vmf_embeddings import extract_folder as extraction
from vmf_embeddings.embeddings import load_embeddings, read_with_notes
from vmf_embeddings.embeddings.folder_writing import write_shard
from vmf_embeddings.extract_folder import FolderJob, extract_folder
from vmf_embeddings.metrics.classification import (
    accuracy,
    negative_log_likelihood,
    probabilities,
    top_k_accuracy,
)
from vmf_embeddings.metrics.logit_summary import logit_summary


class Process:
    """An accelerator of one process of several, each of which is a thread here."""

    device = torch.device("cpu")

    def __init__(self, rank=0, world=1, barrier=None):
        self.process_index, self.num_processes, self.barrier = rank, world, barrier
        self.is_main_process = rank == 0

    def autocast(self):
        return torch.autocast("cpu", enabled=False)

    def wait_for_everyone(self):
        if self.barrier is not None:
            self.barrier.wait(60)


def in_processes(job, world):
    """Runs a job in several processes; returns what the first returns."""
    barrier = threading.Barrier(world)
    with ThreadPoolExecutor(world) as pool:
        places = [Process(rank, world, barrier) for rank in range(world)]
        return next(iter(list(pool.map(lambda place: extract_folder(job, place), places))))


@pytest.fixture
def job(untrained, tmp_path):  # noqa: F811
    dataset, method = untrained
    SPEED.make_accelerator()
    split = dataset.split("train")

    def make(folder="a.emb", **changes):
        meta = {
            "weights": "w", "split_hash": split.identity, "seed": 7, "split": "train",
            "dataset": "digits_lt", "open_set": False, "geometry": {"name": "euclidean"},
        }  # fmt: skip
        said = {
            "method": method.eval(), "split": Repeated(split), "name": "train",
            "folder": tmp_path / folder, "meta": meta, "with_logits": True,
            "others": lambda: {"ids": Repeated(split).labels.numpy()},
            "batch_size": 500, "num_workers": 0, "shard_rows": 1024,
        }  # fmt: skip
        return FolderJob(**{**said, **changes})

    return make


class Repeated:
    """A split in memory whose images come several times, so that there are some shards of them."""

    in_memory, unit, paths = True, "images", None

    def __init__(self, split, times=6):
        self.split, self.device = split, split.device
        self.labels = split.labels.repeat(times)

    def __len__(self):
        return len(self.labels)

    def batch(self, indices, generator=None):
        return self.split.batch(indices % len(self.split), generator)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def n_shards(job):
    return math.ceil(len(job.split) / job.shard_rows)


def test_embeddings_are_those_of_the_method(job):
    whole = job()
    assert n_shards(whole) >= 3
    assert extract_folder(whole, Process())
    file = load_embeddings(whole.folder)
    with torch.no_grad():
        expected = whole.method.embed(whole.split.batch(torch.arange(len(whole.split)))["examples"])
        logits = whole.method.logits(expected)
    np.testing.assert_allclose(file.embeddings, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(file.logits, logits.numpy(), atol=1e-5)
    np.testing.assert_array_equal(file.ids, whole.split.labels.numpy())
    assert file.meta == whole.meta


@pytest.mark.parametrize("world", [2, 3, 20])
@pytest.mark.parametrize("by", ["processes", "parts"])
def test_any_number_of_processes_or_parts_writes_the_same_bytes(job, by, world):
    one, many = job("one.emb"), job("many.emb")
    extract_folder(one, Process())
    if by == "processes":
        assert in_processes(many, world)
    else:
        parts = [job("many.emb", part=(number, world)) for number in range(world, 0, -1)]
        complete = [extract_folder(part, Process()) for part in parts]
        assert complete[-1]
        assert not complete[0]
    assert content(many.folder) == content(one.folder)


def test_an_interrupted_extraction_goes_on_and_ends_the_same(job, monkeypatch):
    one, other = job("one.emb"), job("other.emb")
    extract_folder(one, Process())
    computed = []
    embed = extraction._embed

    def interrupted(job, rows, *of):
        if len(rows) > 1:
            computed.append(rows.start)
            if len(computed) == 2:
                raise KeyboardInterrupt
        return embed(job, rows, *of)

    monkeypatch.setattr(extraction, "_embed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_folder(other, Process())
    with pytest.raises(ValueError, match="not complete"):
        load_embeddings(other.folder)
    left = other.folder / ".embeddings.00001.npy.123.part"  # of a killed process
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    assert in_processes(other, 2)
    assert computed.count(0) == 1  # the finished shard was not computed again
    assert content(other.folder) == content(one.folder)
    before = len(computed)
    assert extract_folder(other, Process())
    assert len(computed) == before
    assert content(other.folder) == content(one.folder)


def test_shards_of_other_weights_rows_or_sizes_are_computed_again(job):
    for change in ({"weights": "x"}, {"split_hash": "y"}, {"seed": 8}):
        one, other = job("one.emb"), job("other.emb")
        extract_folder(job("other.emb", meta={**one.meta, **change}), Process())
        complete = json.loads((other.folder / "meta.json").read_text())
        extract_folder(job("other.emb", part=(1, 2)), Process())
        with pytest.raises(ValueError, match="not complete"):
            load_embeddings(other.folder)
        assert complete["complete"]
        extract_folder(other, Process())
        extract_folder(one, Process())
        assert content(other.folder) == content(one.folder)
    extract_folder(job("other.emb", shard_rows=2048, with_logits=False), Process())
    assert load_embeddings(other.folder).logits is None
    assert not list(other.folder.glob("logits.*"))
    assert not list(other.folder.glob(f"*.{n_shards(one) - 1:05d}.*"))


def test_a_shard_that_lost_its_file_is_computed_again(job):
    one = job()
    extract_folder(one, Process())
    before = content(one.folder)
    (one.folder / "logits.00001.npy").unlink()
    extract_folder(one, Process())
    assert content(one.folder) == before


@pytest.mark.parametrize("size", [0, 5000])
def test_a_shard_that_was_cut_when_a_machine_stopped_is_computed_again(job, size):
    one = job()
    extract_folder(one, Process())
    before = content(one.folder)
    os.truncate(one.folder / "embeddings.00001.npy", size)
    extract_folder(one, Process())
    assert content(one.folder) == before


@pytest.mark.parametrize("damage", [{}, {"dtype": "x"}, {"shape": 5}, {"sha256": None}, "text"])
def test_a_shard_with_a_damaged_record_is_computed_again(job, damage):
    one = job()
    extract_folder(one, Process())
    before = content(one.folder)
    path = one.folder / "embeddings.00001.json"
    record = json.loads(path.read_text())
    logits = record["arrays"]["logits"]
    said = {**logits, **damage} if isinstance(damage, dict) and damage else damage
    path.write_text(json.dumps({**record, "arrays": {**record["arrays"], "logits": said}}))
    extract_folder(one, Process())
    assert content(one.folder) == before


def test_a_shard_that_other_weights_began_to_replace_is_computed_again(job, monkeypatch):
    one = job()
    other = job(meta={**one.meta, "weights": "x", "seed": 8})
    extract_folder(one, Process())
    before = content(one.folder)

    def killed(folder, key, number, rows):
        if key == "logits":
            raise KeyboardInterrupt
        return write_shard(folder, key, number, rows + 1)

    with monkeypatch.context() as patched:
        patched.setattr("vmf_embeddings.embeddings.shards.write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            extract_folder(other, Process())
    extract_folder(one, Process())
    assert content(one.folder) == before


def test_what_another_job_writes_is_left_alone(job):
    one = job()
    extract_folder(one, Process())
    part = one.folder / ".paths.npy.123.part"
    part.write_bytes(b"half")
    assert extract_folder(one, Process())
    assert part.exists()


def test_of_logits_that_are_too_large_a_summary_is_stored_and_the_log_says_so(
    job, monkeypatch, caplog
):
    whole, one = job("whole.emb"), job()
    extract_folder(whole, Process())
    monkeypatch.setattr(extraction, "MOST_LOGITS", 100)
    extract_folder(one, Process())
    assert load_embeddings(one.folder).logits is None
    assert "a summary of each row is stored" in caplog.text
    found = read_with_notes(one.folder)
    assert "label_probability, label_rank, log_partition" in found.notes[0]
    logits, ids = load_embeddings(whole.folder).logits.astype(float), found.file.ids
    stored = {
        key: np.concatenate([np.load(path) for path in sorted(one.folder.glob(f"{key}.*.npy"))])
        for key in ("log_partition", "top_classes", "label_probability", "label_rank")
    }
    assert (stored["label_rank"] == 0).mean() == accuracy(logits, ids)
    assert (stored["label_rank"] < 5).mean() == top_k_accuracy(logits, ids, 5)
    nll = negative_log_likelihood(probabilities(logits), ids)
    assert -np.log(stored["label_probability"].astype(float)).mean() == pytest.approx(nll, rel=1e-5)
    np.testing.assert_array_equal(stored["top_classes"][:, 0], logits.argmax(1))
    partition = np.log(np.exp(logits).sum(1))
    np.testing.assert_allclose(stored["log_partition"], partition, rtol=1e-5)


def test_a_summary_of_draws_is_that_of_their_mean_probabilities():
    logits = torch.randn(50, 4, 9, generator=torch.Generator().manual_seed(0))
    logits[:10, :, 3] = logits[:10, :, 6]  # ties: the lowest class comes first
    labels = torch.arange(50) % 9
    found = logit_summary(logits, labels)
    expected = probabilities(logits)
    ranked = expected.sort(dim=1, descending=True, stable=True)
    assert torch.equal(found["top_classes"].long(), ranked.indices[:, :5])
    np.testing.assert_allclose(found["top_probability"], ranked.values[:, :5], rtol=1e-6)
    ranks = (ranked.indices == labels[:, None]).int().argmax(1)
    assert torch.equal(found["label_rank"].long(), ranks)
    own = expected[torch.arange(50), labels]
    np.testing.assert_allclose(found["label_probability"], own, rtol=1e-6)
    few = logit_summary(logits[:, 0, :3], labels % 3)
    assert few["top_classes"].shape == (50, 3)


def test_a_folder_of_something_else_is_refused(job):
    one = job()
    one.folder.mkdir()
    (one.folder / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="no folder of embeddings"):
        extract_folder(one, Process())
