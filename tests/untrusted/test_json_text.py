"""JSON of others is bounded, and what is wrong with it is a ValueError that names its source."""

import pytest

from vmf_embeddings.untrusted.json_text import MOST_LEVELS, parse_json, parse_json_object, read_json


@pytest.mark.parametrize("value", ["3", "null", '{"a": [1, {"b": 2.5}]}', "[" * 99 + "]" * 99])
def test_usual_json_is_read(value):
    assert parse_json(value, "it") == eval(value, {"null": None})  # noqa: S307 (our own literals)


@pytest.mark.parametrize("n", [MOST_LEVELS + 1, 2000, 200_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_deep_nesting_is_refused(n, opened, closed):
    with pytest.raises(ValueError, match="it is not usable JSON: nested"):
        parse_json(opened * n + "1" + closed * n, "it")


@pytest.mark.parametrize("text", ["", "{", "nope", "\ud800", "1" * 5000, "\x00"])
def test_what_is_no_json_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"^it is not (usable )?JSON"):
        parse_json(text, "it")


@pytest.mark.parametrize("text", ["[]", "3", '"{}"', "null"])
def test_an_object_is_asked_for_by_name(text):
    with pytest.raises(ValueError, match="it must hold a JSON object"):
        parse_json_object(text, "it")


def test_files_are_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json is not JSON"):
        read_json(tmp_path / "x.json")
