"""Work divided among threads: by OpenMP's own where PyTorch has them, else by those of a pool."""

import threading

import pytest
import torch

from vmf_embeddings import threads


@pytest.fixture(params=[1, 2, 3])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=["openmp", "pool"])
def of(request, monkeypatch):
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif threads._openmp() is None:
        pytest.skip("this PyTorch has no OpenMP runtime that exports GOMP_parallel")


def test_results_come_in_the_order_of_the_items(of, n_threads):
    assert threads.each(lambda x: x * x, range(100)) == [x * x for x in range(100)]
    assert threads.each(lambda x: x, []) == []


def test_several_threads_work_at_the_same_time(of, n_threads):
    together = threading.Barrier(n_threads, timeout=60)
    threads.each(lambda _: together.wait(), range(n_threads))  # waits for all of them


@pytest.mark.parametrize("n_rows", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("least", [1, 3])
def test_rows_are_divided_without_gap_or_overlap(of, n_threads, n_rows, least):
    parts = threads.in_threads(lambda i, j: range(i, j), n_rows, least)
    assert [row for part in parts for row in part] == list(range(n_rows))
    assert len(parts) <= n_threads
    assert len(parts) == 1 or min(len(part) for part in parts) >= least


@pytest.mark.parametrize("error", [ValueError("row 3"), KeyboardInterrupt()])
def test_an_error_reaches_the_caller_and_ends_the_work(of, n_threads, error):
    begun = []

    def work(number):
        begun.append(number)
        if number == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        threads.each(work, range(10_000))
    assert caught.value is error
    assert len(begun) < 10_000


def test_work_within_work_is_done(of, n_threads):
    products = threads.each(lambda x: threads.each(lambda y: x * y, range(5)), range(20))
    assert products == [[x * y for y in range(5)] for x in range(20)]


def test_no_gradient_is_recorded_and_the_callers_mode_is_kept(of, n_threads):
    x = torch.ones(3, requires_grad=True)
    assert not any(y.requires_grad for y in threads.each(lambda _: 2 * x, range(4)))
    assert torch.is_grad_enabled()


def test_pytorchs_operations_work_on_one_thread_of_several(of, n_threads):
    rows = torch.randn(64, 32, 16)
    products = threads.each(lambda x: x @ x.T, rows)
    assert torch.allclose(torch.stack(products), rows @ rows.mT, atol=1e-5)
    assert torch.get_num_threads() == n_threads
