"""The jobs of a real sweep in a store of MLflow: one experiment, every epoch, every parameter."""

import json

import pytest

from tests.commands.run import MAIN, command
from vmf_embeddings.training import trackers

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")

SWEEP = (
    *("-m", "experiment=demo", "mode.epochs=2", "sampler.n_episodes=2", "num_workers=0"),
    *("method=normalized_sce", "mode.evaluate_on=[test]", "logger=mlflow"),
)


@pytest.mark.slow
def test_a_sweep_is_one_experiment_and_a_failed_job_does_not_spoil_the_next(tmp_path):
    pytest.importorskip("sqlalchemy", reason="the store is a file of sqlite")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = (*SWEEP, "mode.learning_rate=1e30,0.1,0.2")
    done = command(MAIN, *words, cwd=tmp_path, fresh=True, MLFLOW_TRACKING_URI=store)
    assert done.returncode == 1 and "failed jobs: 1" in done.stderr, done.stderr
    client = mlflow.MlflowClient(store)
    names = {one.name: one.experiment_id for one in client.search_experiments()}
    runs = {
        run.data.params["mode.learning_rate"]: run
        for run in client.search_runs([names["digits/demo"]])
    }
    states = {rate: run.info.status for rate, run in runs.items()}
    assert states == {"1e+30": "FAILED", "0.1": "FINISHED", "0.2": "FINISHED"}
    for rate in ("0.1", "0.2"):
        folder = next(tmp_path.rglob(f"*mode.learning_rate={rate},*/metrics.jsonl"))
        rows = [json.loads(line) for line in folder.read_text().splitlines()]
        assert len(rows) == 2 and runs[rate].data.params["method.name"] == "normalized_sce"
        for key in rows[0]:
            history = client.get_metric_history(runs[rate].info.run_id, key.replace("@", "_at_"))
            assert [(one.step, one.value) for one in history] == [
                (r["epoch"], r[key]) for r in rows
            ]


@pytest.mark.parametrize("name", ["test/recall@1", "train_loss", "test/top_5_accuracy", "a b(c)"])
def test_names_of_columns_are_names_of_mlflow(name):
    class Tracker:
        name = "mlflow"

        def log(self, row, step):
            self.sent = row, step

    tracker = Tracker()
    trackers.send(tracker, {"epoch": 3, name: 0.5})
    (row, step) = tracker.sent
    assert step == 3 and len(row) == 2
    for key in row:
        mlflow.utils.validation._validate_metric_name(key)
