"""Averages are over like runs only; the standard error is that of 2021."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.runs import make_file
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.replications import (
    differences,
    group,
    mean_and_error,
    refuse_unlike,
)
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.settings import settings_of
from vmf_embeddings.geometry import from_meta


def evaluated(number=0, geometry=None, **meta):
    geometry = geometry or {"name": "cosine"}
    file = make_file(geometry, seed=number, **meta)
    return EvaluatedFile(Path(f"r/{number}/toy_test.npz"), Path("r"), file, from_meta(geometry))


def scores(value):
    return Scores({"classification": {"accuracy": value}})


def test_mean_and_standard_error_are_those_of_the_values():
    values = [0.1, 0.4, 0.7, 0.3]
    mean = mean_and_error(values)
    assert mean.mean == pytest.approx(np.mean(values))
    assert mean.standard_error == pytest.approx(np.std(values, ddof=1) / 2)
    assert mean.error_by_n == pytest.approx(np.std(values, ddof=0) / 2)
    assert math.isnan(mean_and_error([0.5]).standard_error)
    assert mean_and_error([0.5]).error_by_n == 0
    assert mean_and_error([0.5, math.nan]).mean == 0.5
    assert math.isnan(mean_and_error([math.nan]).mean)


def test_seeds_of_one_method_are_one_group():
    groups = group([evaluated(n) for n in range(3)], [scores(v) for v in (0.2, 0.4, 0.6)])
    assert len(groups) == 1
    assert groups[0].mean("classification", "accuracy").mean == pytest.approx(0.4)
    assert groups[0].notes() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"split_hash": "other"}, "split hash"),
        ({"train_identity": "other"}, "train identity"),
        ({"selected_on": "test"}, "selected on"),
        ({"method": "other"}, "method"),
        ({"dataset": "other"}, "dataset"),
        ({"geometry": {"name": "euclidean"}}, "geometry"),
        ({"dim": 4}, "dimensions"),
    ],
)
def test_unlike_runs_are_never_averaged_and_the_difference_is_named(change, field):
    groups = group([evaluated(0), evaluated(1, **change)], [scores(0.2), scores(0.4)])
    assert [len(g.files) for g in groups] == [1, 1]
    assert differences(groups) == [field]


def test_only_files_that_say_so_are_of_other_images():
    refuse_unlike([evaluated(0), evaluated(1)])
    refuse_unlike(
        [evaluated(0, train_identity="a"), evaluated(1), evaluated(2, train_identity="a")]
    )
    refuse_unlike([evaluated(0, split_hash="a"), evaluated(1, split_hash="b", dataset="other")])
    refuse_unlike([evaluated(0, split_hash="a"), evaluated(1, split_hash="b", split="valid")])
    with pytest.raises(ValueError, match=r"r/0/.* and r/2/.* trained on different .*a.* and b"):
        refuse_unlike(
            [evaluated(0, train_identity="a"), evaluated(1), evaluated(2, train_identity="b")]
        )


def test_runs_that_share_a_seed_are_no_replications_and_say_so():
    groups = group([evaluated(0), evaluated(0)], [scores(0.2), scores(0.4)])
    assert len(groups) == 1
    assert "different seeds" in groups[0].notes()[0]


def test_only_scores_that_every_run_has_are_averaged():
    richer = Scores({"classification": {"accuracy": 0.5, "nll": 1.0}, "retrieval": {"map@r": 1.0}})
    (one,) = group([evaluated(0), evaluated(1)], [richer, scores(0.5)])
    assert one.sections() == {"classification": ["accuracy"]}


def trained(number, **settings):
    return replace(evaluated(number), settings=settings)


def test_runs_of_other_settings_are_groups_of_their_own_and_the_settings_are_named():
    files = [trained(n, rate=str(rate), epochs="3") for rate in (0.1, 0.01) for n in range(3)]
    groups = group(files, [scores(v / 10) for v in range(6)])
    assert [len(one.files) for one in groups] == [3, 3]
    assert [one.settings for one in groups] == [{"rate": "0.1"}, {"rate": "0.01"}]
    assert [one.mean("classification", "accuracy").mean for one in groups] == pytest.approx(
        [0.1, 0.4]
    )
    assert differences(groups) == ["rate"]
    assert not any(one.notes() for one in groups)


def test_a_setting_that_one_version_does_not_record_makes_no_group():
    files = [trained(0, rate="0.1"), trained(1, rate="0.1", new="x")]
    (one,) = group(files, [scores(0.2), scores(0.4)])
    assert one.settings == {}


def test_settings_are_those_recorded_without_seed_name_and_machine(tmp_path):
    record = tmp_path / "mode.epochs=5,random_seed=2" / ".hydra_train"
    assert settings_of(record.parent) == {"mode.epochs": "5"}
    record.mkdir(parents=True)
    (record / "config.yaml").write_text(
        "name: a\nrandom_seed: 2\nnum_workers: 4\nmode:\n  epochs: 5\n  evaluate_on: []\n"
        "trainer:\n  cpu: true\n  precision: 'no'\ndataset:\n  params:\n    dataset_path: /x\n"
    )
    assert settings_of(record.parent) == {"mode.epochs": "5", "trainer.precision": "no"}
    (record / "config.yaml").write_text("a: [")
    assert settings_of(record.parent) == {"mode.epochs": "5"}
