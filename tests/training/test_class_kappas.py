"""The concentrations of the classes are recorded after every epoch, one column each."""

import csv

import pytest
import torch

from tests.training.few_digits import trained
from vmf_embeddings.training import checkpoint, records
from vmf_embeddings.training.records import Records


def table(folder, name="class_kappas"):
    """Columns of a table by their names."""
    with (folder / f"{name}.csv").open() as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, zip(*(map(float, row) for row in rows), strict=True), strict=True))


@pytest.mark.parametrize("method", ["vmf_softmax", "elk"])
def test_the_last_line_has_the_norms_of_the_class_weights(tmp_path, method):
    trained(tmp_path, f"method={method}", "mode.epochs=1")
    trained(tmp_path, f"method={method}", "mode.epochs=3")  # two more
    found, numbers = table(tmp_path), table(tmp_path, "metrics")
    assert list(found) == ["epoch", *map(str, range(10))] and found["epoch"] == (0, 1, 2)
    state = checkpoint.load(tmp_path / "last.pt")["method_state_dict"]
    norms = state["class_parameters.weight"].norm(dim=1)
    assert [found[str(c)][-1] for c in range(10)] == pytest.approx(norms.tolist(), rel=1e-5)
    columns = torch.tensor([found[str(c)] for c in range(10)])
    assert columns.mean(0).tolist() == pytest.approx(numbers["kappa"], rel=1e-5)
    assert columns.amin(0).tolist() == pytest.approx(numbers["kappa_min"], rel=1e-5)


def test_a_training_without_concentrations_leaves_none_of_an_earlier_one(tmp_path):
    trained(tmp_path, "method=vmf_softmax", "mode.epochs=1")
    trained(tmp_path, "method=normalized_sce", "mode.epochs=1", "resume=never")
    assert not list(tmp_path.glob("class_kappas*"))


def test_many_classes_are_not_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MOST_KAPPAS", 3)
    with Records(tmp_path) as kept:
        kept.add({"epoch": 0}, [1.0, 2.0, 3.0, 4.0])
        assert not list(tmp_path.glob("class_kappas*"))
        kept.add({"epoch": 1}, [1.0, 2.0, 1 / 3])
    assert table(tmp_path)["2"] == (0.333333,)
