"""A folder of embeddings does not depend on who computes its shards, nor on interruptions."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.test_extract import SPEED, untrained  # noqa: F401
from vmf_embeddings import extract_folder as extraction
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.extract_folder import FolderJob, extract_folder


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
    (other.folder / ".embeddings.00001.npy.123.part").write_bytes(b"half")  # of a killed process
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


def test_logits_that_are_too_large_are_left_out_with_a_word(job, monkeypatch, caplog):
    monkeypatch.setattr(extraction, "MOST_LOGITS", 100)
    one = job()
    extract_folder(one, Process())
    assert load_embeddings(one.folder).logits is None
    assert "scores of classification are not computed" in caplog.text


def test_a_folder_of_something_else_is_refused(job):
    one = job()
    one.folder.mkdir()
    (one.folder / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="no folder of embeddings"):
        extract_folder(one, Process())
