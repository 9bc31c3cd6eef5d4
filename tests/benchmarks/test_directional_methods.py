"""The study of directional methods: its commands compose, its scores and tables are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import directional_methods as study
from benchmarks import directional_runs as runs
from benchmarks.which_method import Record
from tests.cli.test_second_stage import composed
from vmf_embeddings.embeddings import EmbeddingFile

ROOT = Path(__file__).parents[2]


def file(rows, ids, **others):
    rows = np.asarray(rows, np.float32)
    return EmbeddingFile(embeddings=rows, ids=np.asarray(ids), **others)


@pytest.mark.parametrize("name", ["open", "long tail", "calibration"])
def test_commands_compose(name):
    task = study.TASKS[name]
    for data, words in task.sets.items():
        experiment = "demo" if name == "calibration" else data
        for own in task.methods.values():
            composed([f"experiment={experiment}", *task.words, *words, *own])


def test_swapped_digits_train_on_those_that_are_retrieved_else():
    def sums(splits):  # of the pixels of each image
        images = (split.batch(torch.arange(len(split)))["examples"] for split in splits)
        return torch.cat([batch.sum((1, 2, 3)) for batch in images]).sort().values

    swapped, plain = (
        {part: dataset(margin_warmup_epochs=0).split(part) for part in runs.PARTS}
        for dataset in (runs.SwappedDigits, runs.DigitsOpen)
    )
    for one, other in ((swapped, plain), (plain, swapped)):
        assert torch.equal(sums([one["test"]]), sums([other["train"], other["valid"]]))
        assert set(one["train"].labels.tolist()) == set(range(5))
        assert not set(one["train"].original_labels.tolist()) & set(
            one["test"].original_labels.tolist()
        )


def test_nearest_means_are_of_unit_rows():
    train = file([[9, 0], [0, 0.1], [0.1, 0]], [0, 1, 0])
    assert runs.nearest_mean_accuracy(train, file([[1, 0.9], [0.9, 1]], [0, 1])) == 1
    assert runs.nearest_mean_accuracy(train, file([[1, 0.9], [0.9, 1]], [1, 1])) == 0.5


def test_few_shot_accuracy_is_by_the_rows_that_are_left():
    ids = np.repeat([0, 1], 12)
    assert runs.few_shot_accuracy(file(np.eye(2)[ids], ids)) == 1
    rng = np.random.default_rng(0)
    noise = runs.few_shot_accuracy(file(rng.normal(size=(400, 8)), np.arange(400) % 2))
    assert noise == pytest.approx(0.5, abs=0.05)


def test_a_table_compares_seed_by_seed_and_corrects_for_its_size():
    def of(values, **others):
        return 1e-3, [{"scores": {"R@1": v, "MAP@R": 0.5, **others}} for v in values]

    found = {
        "one": of((0.5, 0.6, 0.7)),
        "two": of((0.51, 0.6101, 0.71)),
        "three": of((0.5, 0.6, 0.7)),
        "four": of((0.4, 0.9, 0.6), **{"ECE": 0.1, "ECE by expected values": 0.2}),
    }
    task = study.Task({}, runs.open_scores, ("R@1", "MAP@R", "ECE"), ("R@1",), "one", "MAP@R")
    lines = list(study.table(task, found))
    assert "| two | 61.0 ± 5.8 | 50.0 ± 0.0 | – | +1.0 (+1.0 to +1.0)* | 0.001 |" in lines
    assert "| three | 60.0 ± 5.8 | 50.0 ± 0.0 | – | +0.0 (+0.0 to +0.0) | 0.001 |" in lines
    assert lines[-1].startswith("| four by expected values | 63.3 ± 14.5 | 50.0 ± 0.0 | 20.0 ± 0.0")
    assert "*" not in lines[-2]


@pytest.mark.parametrize("name", study.TASKS)
def test_the_page_has_the_tables_of_the_stored_runs(name, capsys):
    page = (ROOT / "docs" / "directional-methods.md").read_text(encoding="utf-8").splitlines()
    task = study.TASKS[name]
    for data in task.sets:
        record = Record(ROOT / "benchmarks" / "results" / "directional_methods" / f"{data}.jsonl")
        lines = list(study.table(task, study.results(name, data, None, record, study.SEEDS)))
        start = page.index(lines[0], page.index(f"**{data}**"))
        assert page[start : start + len(lines)] == lines, data


def test_the_readme_has_means_of_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "directional-methods.md").read_text(encoding="utf-8")
    columns = (("digits_open", 1), ("mnist_open", 1), ("letters3", 1), ("mnist_open", 6))
    tables = {name: page.partition(f"**{name}**")[2] for name, _ in columns}
    rows = readme.partition("|digits|MNIST|letters|")[2].split("\n\n")[0].splitlines()[2:]
    assert len(rows) == len(study.OPEN)
    for row in rows:
        title, *cells = row.strip("|").split("|")
        for cell, (data, column) in zip(cells, columns, strict=True):
            line = next(x for x in tables[data].splitlines() if x.startswith(f"| {title} |"))
            assert cell == line.split("|")[column + 1].split()[0], (title, data)
