"""The study of directional methods: its commands compose, its scores and tables are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import directional_methods as study
from benchmarks import directional_runs as runs
from benchmarks.directional_tables import table
from benchmarks.directional_tasks import OPEN, SEEDS, TASKS, Task
from benchmarks.which_method import Record
from tests.cli.test_second_stage import composed
from vmf_embeddings.embeddings import EmbeddingFile

ROOT = Path(__file__).parents[2]


def file(rows, ids, **others):
    rows = np.asarray(rows, np.float32)
    return EmbeddingFile(embeddings=rows, ids=np.asarray(ids), **others)


@pytest.mark.parametrize("name", [name for name in TASKS if "pictures" not in name])
def test_commands_compose(name):
    task = TASKS[name]
    for data, words in (task.sets | task.on_request).items():
        experiment = study.Sets("", ROOT, ROOT, ROOT).of(name, data).name
        for own in task.methods.values():
            composed([f"experiment={experiment}", *task.words, *words, *own])


def test_rates_of_sgd_are_those_of_the_published_experiments():
    names = {
        "softmax": "mnist_unnormalized_sce",
        "cosine softmax": "mnist_normalized_sce",
        "ArcFace": "mnist_arcface",
        "vMF softmax, 0.4": "mnist_vmf_softmax",
    }
    task, keys = TASKS["calibration by SGD"], ("momentum", "nesterov", "temp_learning_rate")
    for title, experiment in names.items():
        published = composed([f"experiment={experiment}"])
        own = composed([
            "experiment=demo", *task.words, *task.sets["mnist_sgd"], *task.methods[title],
            f"mode.learning_rate={task.published.get(title, 1.0)}",
            f"mode.temp_learning_rate={task.temperature_rates[0]}",
        ])  # fmt: skip
        learned = published["arch"]["params"]["learn_temp"]
        same = [*(keys if learned else keys[:2]), "learning_rate", "weight_decay", "select"]
        assert [own["mode"][k] for k in same] == [published["mode"][k] for k in same], title
        for group in ("arch", "method", "optimizer", "schedule"):
            mine, theirs = dict(own[group]), dict(published[group])
            if not learned and group == "arch":
                mine["params"] = {**mine["params"], "learn_temp": False}
            mine["params"] = (
                {**mine["params"], "n_classes": 10} if group == "arch" else mine["params"]
            )
            assert mine == theirs, (title, group)


@pytest.mark.parametrize("best", [1, 2, 3, 5, 8])
def test_the_search_of_a_rate_goes_on_beyond_an_end(best):
    values, tried = (1, 2, 3, 5, 8), []

    def score(value):
        tried.append(value)
        return -abs(values.index(value) - values.index(best))

    assert study.best_of(values, 3, score) == best
    around = values[max(0, values.index(best) - 1) : values.index(best) + 2]
    assert set(around) <= set(tried) and len(tried) == len(set(tried))
    assert study.best_of(values, 3, lambda value: 0) == 3  # of equal ones the first


def test_the_last_gain_is_over_the_first_three_quarters(tmp_path):
    scores = [0.5, 0.9, 0.8, 0.93, 0.92, 0.91, 0.95, 0.94]
    text = "\n".join(["epoch,valid_metric", *(f"{i},{s}" for i, s in enumerate(scores))])
    (tmp_path / "metrics.csv").write_text(text)
    assert study.last_gain(tmp_path) == pytest.approx(0.02)


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
        return "0.001", [{"scores": {"R@1": v, "MAP@R": 0.5, **others}} for v in values]

    found = {
        "one": of((0.5, 0.6, 0.7)),
        "two": of((0.51, 0.6101, 0.71)),
        "three": of((0.5, 0.6, 0.7)),
        "four": of((0.4, 0.9, 0.6), **{"ECE": 0.1, "ECE by expected values": 0.2}),
    }
    task = Task({}, runs.open_scores, ("R@1", "MAP@R", "ECE"), ("R@1",), "one", "MAP@R")
    lines = list(table(task, found))
    assert "| two | 61.0 ± 5.8 | 50.0 ± 0.0 | – | +1.0 (+1.0 to +1.0)* | 0.001 |" in lines
    assert "| three | 60.0 ± 5.8 | 50.0 ± 0.0 | – | +0.0 (+0.0 to +0.0) | 0.001 |" in lines
    assert lines[-1].startswith("| four by expected values | 63.3 ± 14.5 | 50.0 ± 0.0 | 20.0 ± 0.0")
    assert "*" not in lines[-2]


@pytest.mark.parametrize("name", TASKS)
def test_the_page_has_the_tables_of_the_stored_runs(name, capsys):
    page = (ROOT / "docs" / "directional-methods.md").read_text(encoding="utf-8").splitlines()
    task, folder = TASKS[name], ROOT / "benchmarks" / "results" / "directional_methods"
    sets = study.Sets("", ROOT, ROOT, folder)
    for data in task.sets | task.on_request:
        if data in task.sets or (folder / f"{data}.jsonl").exists():
            record = Record(folder / f"{data}.jsonl")
            lines = list(table(task, study.results(name, data, sets, record, SEEDS)))
            start = page.index(lines[0], page.index(f"**{data}**"))
            assert page[start : start + len(lines)] == lines, data


def test_the_readme_has_means_of_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "directional-methods.md").read_text(encoding="utf-8")
    columns = (("digits_open", 1), ("mnist_open", 1), ("letters3", 1), ("mnist_open", 6))
    tables = {name: page.partition(f"**{name}**")[2] for name, _ in columns}
    rows = readme.partition("|digits|MNIST|letters|")[2].split("\n\n")[0].splitlines()[2:]
    assert len(rows) == len(OPEN)
    for row in rows:
        title, *cells = row.strip("|").split("|")
        for cell, (data, column) in zip(cells, columns, strict=True):
            line = next(x for x in tables[data].splitlines() if x.startswith(f"| {title} |"))
            assert cell == line.split("|")[column + 1].split()[0], (title, data)
