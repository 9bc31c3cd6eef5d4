"""The examples of docs/library.md run as they stand."""

import doctest
from pathlib import Path

import torch

import vmf_embeddings

PAGE = Path(vmf_embeddings.__file__).parents[1] / "docs" / "library.md"


def test_the_examples_give_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMF_RUNS", str(tmp_path / "runs"))
    torch.manual_seed(0)
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags)
    assert tried > 20 and failed == 0
