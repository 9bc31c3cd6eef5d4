"""Plain values are held against the annotations of what they are given to."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from vmf_embeddings import catalogue
from vmf_embeddings.argument_types import check_arguments
from vmf_embeddings.criteria.hib import HIB
from vmf_embeddings.criteria.recall_at_k import RecallAtK
from vmf_embeddings.criteria.smooth_ap import SmoothAP
from vmf_embeddings.methods.dml import DML

OPTIONS = sorted(catalogue.CONF.glob("*/*.yaml"))


def nodes(value):
    if isinstance(value, dict):
        yield from [value] if isinstance(value.get("_target_"), str) else []
        for inside in value.values():
            yield from nodes(inside)


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_defaults_of_every_option_have_the_annotated_types(path: Path):
    for node in nodes(yaml.safe_load(path.read_text())):
        module, _, attribute = node["_target_"].rpartition(".")
        values = {k: v for k, v in node.items() if "${" not in str(v) and v != "???"}
        del values["_target_"]
        check_arguments(getattr(importlib.import_module(module), attribute), values)


@pytest.mark.parametrize(
    "target, name, value, wanted",
    [
        (SmoothAP, "temperature", None, "a number"),
        (SmoothAP, "temperature", "0.1", "a number"),
        (SmoothAP, "temperature", True, "a number"),
        (SmoothAP, "count_query", "yes", "true or false"),
        (HIB, "offset", float("nan"), "a number"),
        (HIB, "n_samples", 1.5, "a whole number"),
        (DML, "memory_size", 1.5, "a whole number"),
        (RecallAtK, "k_values", [1.5], "a list, each a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(target, name, value, wanted):
    with pytest.raises(TypeError, match=f"^{name}: expected {wanted}, got "):
        check_arguments(target, {name: value})


def test_numbers_of_numpy_whole_numbers_and_tuples_pass():
    check_arguments(SmoothAP, {"temperature": 1})
    check_arguments(HIB, {"n_samples": np.int64(4), "scale": np.float32(3)})
    check_arguments(RecallAtK, {"k_values": (1, 2)})
