"""A terminal gets a live line that goes away; a file gets a plain line now and then."""

import io
import threading

import pytest

from vmf_embeddings import progress as module
from vmf_embeddings.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A clock that goes on only where work waits; the work ends after `end` seconds."""

    def __init__(self, end):
        self.now, self.end = 0.0, end

    def wait(self, seconds):
        self.now = min(self.now + seconds, self.end)
        return self.now >= self.end


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


def test_work_that_reports_nothing_gets_a_line_soon_and_every_half_minute(clock):
    stream = io.StringIO()
    Progress("k-means of 60,000 rows", stream=stream).watch(clock.wait)
    times = ("0:00:02", "0:00:32", "0:01:02", "0:01:32")
    expected = [f"k-means of 60,000 rows: {time} so far" for time in times]
    assert stream.getvalue().splitlines() == expected


def test_work_inside_other_work_gets_its_first_line_when_asked(clock):
    lines = {}
    for stream in (io.StringIO(), Terminal()):
        clock.now, clock.end = 0.0, 40.0
        Progress("Embedding", stream=stream, seconds_until_line=30.0).watch(clock.wait)
        lines[stream.isatty()] = stream.getvalue()
    assert lines[False].splitlines() == ["Embedding: 0:00:30 so far"]
    assert "0:00:02 so far" in lines[True]


def test_work_that_reports_gets_the_time_that_is_left(clock):
    stream = io.StringIO()
    progress = Progress("Ranking", 10, stream)
    progress(4)
    progress.watch(clock.wait)
    assert stream.getvalue().splitlines()[1] == "Ranking: 40 %, 0:00:48 left"  # after 32 s


def test_work_with_a_unit_gets_its_rate_every_few_seconds_and_a_bar_in_a_terminal(clock):
    for stream in (io.StringIO(), Terminal()):
        clock.now = 0.0
        options = {"unit": "images", "seconds_between_lines": 5.0}
        progress = Progress("Embedding", 1000, stream, **options)
        progress(500)
        progress.watch(clock.wait)
        assert "50 %, 0:00:02 left, 250 images/s" in stream.getvalue()
        assert ("[############............]" in stream.getvalue()) == stream.isatty()
        if not stream.isatty():
            assert len(stream.getvalue().splitlines()) == 20  # after 2 s, 7 s, 12 s, ...


def test_short_work_prints_nothing(clock):
    clock.end = 1.9
    stream = io.StringIO()
    progress = Progress("Ranking", 10, stream)
    progress(9)
    progress.watch(clock.wait)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_line_that_is_taken_away(clock):
    stream = Terminal()
    with Progress("Ranking", 10, stream, at_once=True) as progress:
        progress(5)
        clock.now = 61.0
        progress.show()
    text = stream.getvalue()
    assert "Ranking: 50 %, 0:01:01 left" in text
    assert text.endswith("\r\x1b[2K")
    assert "\n" not in text


def test_large_work_is_named_when_it_begins(clock):
    stream = io.StringIO()
    with Progress("t-SNE of 2,000 rows", stream=stream, at_once=True):
        assert stream.getvalue() == "t-SNE of 2,000 rows\n"


def test_other_processes_print_nothing_and_no_thread_stays(clock):
    stream = io.StringIO()
    before = threading.active_count()
    with Progress("Ranking", stream=stream, quiet=True, at_once=True):
        assert threading.active_count() == before
    with Progress("Ranking", stream=stream):
        pass
    assert stream.getvalue() == ""
    assert threading.active_count() == before


def test_a_thread_shows_the_progress_while_other_code_works(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_UNTIL_SHOWN", 0.0)
    shown = threading.Event()

    class Stream(io.StringIO):
        def write(self, text):
            shown.set()
            return super().write(text)

    stream = Stream()
    with Progress("k-means", stream=stream):
        assert shown.wait(10)
    assert stream.getvalue().startswith("k-means: 0:00:00 so far")


def test_an_error_ends_the_progress_and_a_closed_stream_does_not_end_the_work():
    before = threading.active_count()
    with pytest.raises(KeyError), Progress("Ranking", stream=io.StringIO()):
        raise KeyError
    assert threading.active_count() == before
    stream = io.StringIO()
    progress = Progress("Ranking", stream=stream)
    stream.close()
    progress.show()
