"""The studies' commands are commands, and their tables have what they say."""

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import long_tail, metric_learning
from benchmarks.study import Row, Study, markdown, summary
from tests.test_configs import CONF
from vmf_embeddings.cli import assembly


@pytest.mark.parametrize("module", [long_tail, metric_learning])
def test_every_row_is_a_command_that_composes(module):
    assembly.register_resolvers()
    experiments = {long_tail: "digits_lt", metric_learning: "digits_open"}
    experiment = experiments[module]
    study = Study(module.ROWS, module.COLUMNS, 64, (experiment,), (1,), "data", None)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for row in {row.name: row for row in study.rows}.values():
            config = compose("config", study.training(row, experiment, 1)[2:])
            assert config.method.name == row.method, row
            assert config.name == f"{row.name}_1"


def test_a_table_has_means_with_the_standard_errors_of_seeds():
    scores = [{"normalised": {"recall@1": r}} for r in (0.90, 0.92, 0.94)]
    found = summary(scores, metric_learning.COLUMNS)
    assert list(found) == ["R@1"]
    assert found["R@1"]["mean"] == pytest.approx(92)
    assert found["R@1"]["standard_error"] == pytest.approx(2 / 3**0.5)
    text = markdown("digits_open", [("softmax", found)], tuple(metric_learning.COLUMNS), "cmd")
    assert "| softmax | 92.0 ± 1.2 | – | – |" in text


def test_a_teacher_is_the_run_of_the_same_seed():
    rows = (Row("a", "A"), Row("b", "B", teacher="a"))
    study = Study(rows, {}, 8, ("digits_lt",), (1,), "data", 2)
    words = study.training(rows[1], "digits_lt", 3)
    teacher = f"method.params.teacher={study.folder(rows[0], 'digits_lt', 3)}"
    assert teacher in words and teacher.endswith("a_3") and "mode.epochs=2" in words
