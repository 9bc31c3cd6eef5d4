"""`vmf.search` goes through its queries in blocks, which changes nothing but the progress."""

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.library import search as module

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(30, 4))


@pytest.mark.parametrize("exclude", [None, np.arange(7), np.stack([np.arange(7), np.ones(7)], 1)])
def test_blocks_of_queries_find_the_same(exclude, monkeypatch):
    whole = vmf.search(ROWS[:7], ROWS, k=5, exclude=exclude)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 3)
    parts = vmf.search(ROWS[:7], ROWS, k=5, exclude=exclude)
    np.testing.assert_array_equal(parts.indices, whole.indices)
    np.testing.assert_allclose(parts.similarities, whole.similarities, rtol=1e-12)


def test_no_queries_find_nothing():
    hits = vmf.search(ROWS[:0], ROWS, k=5)
    assert hits.indices.shape == hits.similarities.shape == (0, 5)


def test_a_wrong_number_of_excluded_rows_is_refused():
    with pytest.raises(ValueError, match=r"exclude must be \[7\] or \[7, E\], got \[3\]"):
        vmf.search(ROWS[:7], ROWS, exclude=[0, 1, 2])


@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_is_shown_in_a_file(progress, capsys):
    vmf.search(ROWS[:7], ROWS, progress=progress)
    assert capsys.readouterr().err == ""
