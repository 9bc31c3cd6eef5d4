"""A terminal gets a live line that goes away; a file gets a plain line now and then."""

import io

from vmf_embeddings.evaluation import progress as module
from vmf_embeddings.evaluation.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(stream, monkeypatch):
    clock = iter([0.0, 1.0, 61.0, 62.0, 90.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    watch = Progress("Ranking", 10, stream)
    for done in (1, 5, 6, 9):
        watch(done)
    watch.close()
    return stream.getvalue()


def test_a_file_gets_a_plain_line_a_minute(monkeypatch):
    assert printed(io.StringIO(), monkeypatch) == "Ranking: 50 %, 0:01:01 left\n"


def test_a_terminal_gets_a_line_that_is_taken_away(monkeypatch):
    text = printed(Terminal(), monkeypatch)
    assert text.count("left") == 3
    assert text.endswith("\r\x1b[2K")
    assert "\n" not in text
