"""Names of others do nothing to terminals, tables and paths."""

import math

import pytest

from vmf_embeddings.untrusted.text import csv_cell, path_component, printable

HOSTILE = ["\x1b[2J", "\x1b]0;title\x07", "a\nb", "a\rb", "\x9b2J", "\x00", "\u2028", "\u202egpj",
           "\u2066", "\u061c", "\ufeff", "\ud800", "\x7f", "\x85"]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_become_escapes_of_ascii(text):
    shown = printable(text)
    assert "\\" in shown
    assert shown.isascii()
    assert shown.isprintable()
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["grün", "猫", "a b", "100 %", "$x$", "[b]", "🐈", "ע"])
def test_other_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1",
                                  "\r=1", " =1", "\uff1d1"])  # fmt: skip
def test_no_text_is_a_formula(text):
    cell = csv_cell(text)
    assert isinstance(cell, str)
    assert cell[0] == "'"


@pytest.mark.parametrize("value", [1, -1.5, None, True, "cat", "-1.5", "+3e-4", "-inf", "a=b"])
def test_numbers_and_honest_texts_stay_as_they_are(value):
    assert csv_cell(value) is value or csv_cell(value) == value


def test_cells_hold_no_control_characters():
    assert csv_cell("a\n=b\x1b") == "a\\n=b\\x1b"
    assert math.isnan(csv_cell(math.nan))


@pytest.mark.parametrize("name", ["mnist_lt", "a-1,b=2", "2021", "ResNet.50", "a~b"])
def test_usual_names_may_stand_in_a_path(name):
    assert path_component(name, "it") == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a..b", ".hidden",
                                  "-rf", "a\n", "a\x00", "x" * 300, None, 3, ["a"]])  # fmt: skip
def test_names_that_lead_elsewhere_are_refused_by_name(name):
    with pytest.raises(ValueError, match="the split is"):
        path_component(name, "the split")
