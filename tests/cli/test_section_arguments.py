"""Files that a command names: refused where nothing reads them, or where a device would go."""

import pytest

from vmf_embeddings.cli.arguments import file_to_write
from vmf_embeddings.cli.compare_arguments import parse_compare
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (["--fit-on", "other.npz"], "--fit-on is read by metrics=[calibration]"),
        (["--fit-on", "train", "metrics=[uncertainty]"], "--fit-on is read by"),
        (["--train", "rows.npz"], "--train is read by --ood FILE"),
    ],
)
def test_a_file_that_no_section_reads_is_refused(capsys, ending, words):
    with pytest.raises(SystemExit) as end:
        parse_evaluate(["runs", *ending])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_file_that_a_section_reads_is_taken():
    assert parse_evaluate(["runs", "metrics=[prior]", "--fit-on", "train"]).fit_on == "train"
    assert str(parse_evaluate(["runs", "--ood", "a", "--train", "b"]).train) == "b"


@pytest.mark.parametrize("parse", [parse_evaluate, parse_compare])
@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout"])
def test_results_do_not_take_the_place_of_a_device(capsys, parse, path):
    with pytest.raises(SystemExit) as end:
        parse(["runs", "--json", path])
    assert end.value.code == 2
    assert "would be replaced: name a file" in capsys.readouterr().err


def test_a_file_that_is_there_may_be_written_again(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("a.json")
    for name in ("a.json", "link.json", "new/b.json"):
        assert file_to_write(str(tmp_path / name)) == tmp_path / name
