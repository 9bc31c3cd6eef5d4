"""Failed jobs of a sweep are known at its end, whichever process ran them."""

import multiprocessing
import os

from vmf_embeddings.cli import failed_jobs
from vmf_embeddings.cli.failed_jobs import FailedJob

JOBS = [FailedJob(2, ["a=1", "b=2"], "no ü"), FailedJob(1, ["a=1", "b=1"], 'a "quoted" error')]


def test_jobs_that_failed_in_other_processes_are_read_by_number_without_what_all_share():
    with failed_jobs.recorded() as file:
        for job in JOBS:
            process = multiprocessing.get_context("fork").Process(
                target=failed_jobs.record, args=(job,)
            )
            process.start()
            process.join()
        found = failed_jobs.read(file, shared=["-m", "a=1"])
    assert found == [
        FailedJob(1, ["b=1"], JOBS[1].error),
        FailedJob(2, ["b=2"], JOBS[0].error),
    ]


def test_a_job_whose_overrides_all_jobs_share_is_named_by_all_of_them():
    with failed_jobs.recorded() as file:
        failed_jobs.record(FailedJob(0, ["a=1"], "error"))
        assert failed_jobs.read(file, shared=["a=1"]) == [FailedJob(0, ["a=1"], "error")]


def test_the_file_is_removed_and_nothing_is_written_outside_a_sweep():
    before = dict(os.environ)
    with failed_jobs.recorded() as file:
        assert failed_jobs.read(file) == []
    assert not file.exists() and dict(os.environ) == before
    failed_jobs.record(JOBS[0])
    assert not file.exists()
