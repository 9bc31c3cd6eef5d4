"""YAML of others holds plain values, and neither bombs nor objects."""

import pytest

from vmf_embeddings.untrusted.yaml_text import read_yaml

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


def test_plain_values_are_read(tmp_path):
    (tmp_path / "x.yaml").write_text("- a=1\n- b: [1, 2.5, null, true]\n")
    assert read_yaml(tmp_path / "x.yaml") == ["a=1", {"b": [1, 2.5, None, True]}]


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "&a [*a]",
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system",
        "[" * 5000,
        "[" * 3000 + "]" * 3000,
        "a: b: c",
        "\x00",
        "!!timestamp 99999-99-99",
        "#" * (2**20 + 1),
    ],
)
def test_bombs_objects_and_broken_files_are_refused_by_name(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"x\.yaml"):
        read_yaml(tmp_path / "x.yaml")
