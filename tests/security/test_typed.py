"""What a message says to type is one line that shows all of itself, and reaches the shell whole."""

import os
import subprocess

import pytest

from vmf_embeddings import typed
from vmf_embeddings.untrusted.text import printable

DECEIVING = [
    "a\nfine; next: rm x", "a\x1b[2J", "a\x9b31m", "x\u202egnp.exe", "a\u2028b", "a\ufeff",
    "\x7f'\\", "a\ud800",
    os.fsdecode(b"a\xff"), "$(touch y)", "`touch y`", "a'; touch y; '", "a\n'$(touch y)\\",
]  # fmt: skip


@pytest.mark.parametrize("text", DECEIVING)
def test_names_that_deceive_are_typed_as_one_visible_line_and_arrive_whole(tmp_path, text):
    word = typed.argument(text)
    assert printable(word) == word
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], cwd=tmp_path, capture_output=True, check=True
    )
    is_name = "\ud800" not in text  # which no name of a file can hold
    assert done.stdout == (os.fsencode(text) if is_name else text.encode(errors="surrogatepass"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", DECEIVING)
def test_overrides_and_options_show_all_of_themselves(text):
    for line in (typed.override("k", text), typed.quoted_override("k", text), typed.given([text])):
        assert printable(line) == line
    assert printable(typed.option("k", text)) == typed.option("k", text)
