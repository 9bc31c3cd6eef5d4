"""The log line names what a method has; for the methods of 2021 it keeps the words of 2021."""

import re

import pytest

from vmf_embeddings.methods.arcface import ArcFace
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE
from vmf_embeddings.methods.nir import NIR
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.training.epoch_log import EpochResult, log_line, progress_notes
from vmf_embeddings.training.selection import Selection

BEST = {"epoch": 1, "valid_acc": 0.75}
LINE_OF_2021 = re.compile(
    r"\[Epoch (\d+) / (\d+)\] => Train Loss: ([\d.]+), Validation Accuracy: ([\d.]+)[^,]*, "
    r"Temp: ([\d.]+), Z-Kappa-Mult: ([\d.]+)"
)


def result(status, metric_name="accuracy", validated_on="valid", **other_scores):
    return EpochResult(
        2, 0.5, validated_on, metric_name, 0.625, 0.1, status, 1000.0, 2.0, other_scores
    )


def line(status, *, as_in_2021=False, select="valid", unit="images", **values):
    return log_line(
        result(status, **values), BEST, n_epochs=12, select=select, mean_seconds=2.0,
        selection=Selection("accuracy", select == "last"),
        as_in_2021=as_in_2021, unit=unit,
    )  # fmt: skip


@pytest.mark.parametrize(
    "cls", (ArcFace, HyperbolicSCE, NormalizedSCE, UnnormalizedSCE, VMFSoftmax)
)
def test_methods_of_2021_keep_their_line(cls):
    assert cls.logs_as_in_2021


@pytest.mark.parametrize("cls", (Classifier, DML, NIR))
def test_later_methods_have_a_line_of_their_own(cls):
    assert not cls.logs_as_in_2021


def test_the_line_counts_what_the_data_set_holds():
    assert "1,000 images/s" in line({})
    assert "1,000 vectors/s" in line({}, unit="vectors")


@pytest.mark.parametrize("metric_name", ("accuracy", "Recall@1"))
@pytest.mark.parametrize(
    ("status", "wanted"),
    (
        ({}, ("1.0000", "1.0000")),
        ({"temperature": 0.5}, ("0.5000", "1.0000")),
        ({"temperature": 0.5, "kappa_scale": 2.0, "kappa": 64.0}, ("0.5000", "2.0000")),
    ),
)
def test_the_line_of_2021_always_has_temperature_and_scale(status, wanted, metric_name):
    found = LINE_OF_2021.match(line(status, as_in_2021=True, metric_name=metric_name))
    assert found.groups() == ("2", "11", "0.5000", "0.6250", *wanted)


def test_other_lines_show_the_status_of_the_method_and_nothing_else():
    shown = line({"proxy_loss": 1.25, "flow_gradient_share": 0.5})
    assert "Proxy loss: 1.25, Flow gradient share: 0.5, Learning Rate: 0.1" in shown
    assert "Temp" not in shown and "Kappa" not in shown
    assert "Temp: 0.5000, Learning Rate" in line({"temperature": 0.5})
    vmf = line({"temperature": 0.5, "kappa_scale": 2.0, "kappa": 64.0})
    assert "Temp: 0.5000, Z-Kappa-Mult: 2.0000, Kappa: 64, Learning" in vmf


@pytest.mark.parametrize(
    ("values", "wanted"),
    (
        ({}, "Validation Accuracy: 0.6250,"),
        ({"metric_name": "Recall@1"}, "Validation Recall@1: 0.6250,"),
        ({"metric_name": "Recall@1", "as_in_2021": True}, "Accuracy: 0.6250 (Recall@1),"),
        ({"validated_on": "test", "select": "test"}, "Test Accuracy: 0.6250,"),
    ),
)
def test_the_line_says_which_metric_it_shows(values, wanted):
    assert wanted in line({}, **values)


def test_no_best_epoch_is_named_where_the_last_is_kept():
    assert "best" not in line({}, select="last")
    assert "best 0.7500 at epoch 1" in line({})


def test_the_row_has_every_number_under_its_column():
    row = result({"temperature": 0.5}, **{"test/recall@1": 0.25}).row()
    assert list(row) == [
        "epoch", "train_loss", "valid_metric", "test/recall@1", "learning_rate", "temperature",
        "images_per_second", "data_wait", "seconds",
    ]  # fmt: skip
    assert row["valid_metric"] == 0.625 and row["test/recall@1"] == 0.25


def test_the_progress_bar_shows_the_status_and_the_name_of_the_metric():
    options = {"learning_rate": 0.1, "metric_name": "Recall@1", "best": BEST}
    options["selection"] = Selection("Recall@1")
    notes = progress_notes({"flow_gradient_share": 0.5}, last_metric=0.625, **options)
    assert notes == [
        ("validation Recall@1", "0.6250"),
        ("lr", "0.1"),
        ("flow gradient share", "0.5"),
        ("best", "0.7500 at epoch 1"),
    ]
    assert progress_notes({}, last_metric=None, **options)[0][0] == "lr"
