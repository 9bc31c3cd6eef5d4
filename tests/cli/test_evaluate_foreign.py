"""The command on files of other programs, and on embedding files whose meta data are wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from tests.evaluation.runs import make_run
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate

RNG = np.random.default_rng(0)
LABELS = np.arange(24) % 4
ROWS = (np.eye(4, 5)[LABELS] + 0.2 * RNG.normal(size=(24, 5))).astype(np.float32)
UNIT = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)


def run(*words):
    return evaluate(parse_evaluate([str(word) for word in (*words, "--no-figures")]))


def scores(folder, name):
    return json.loads((folder / "metrics.json").read_text())[name]


def save(folder, kind, rows=UNIT):
    """The same rows and labels in a file of one kind."""
    path = folder / f"feats.{kind}"
    if kind == "npz":
        np.savez(path, features=rows, targets=LABELS)
    elif kind == "npy":
        np.save(path, rows)
        np.save(folder / "feats_labels.npy", LABELS)
    elif kind == "safetensors":
        save_file({"features": rows, "targets": LABELS}, path)
    elif kind == "parquet":
        pq.write_table(pa.table({"vector": list(rows), "label": LABELS}), path)
    else:
        lines = [",".join(map(str, [label, *row])) for label, row in zip(LABELS, rows, strict=True)]
        path.write_text("\n".join(["label,f0,f1,f2,f3,f4", *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "parquet", "safetensors"])
def test_a_file_of_another_program_is_scored_as_a_run_of_the_same_rows(tmp_path, capsys, kind):
    path = save(tmp_path, kind)
    assert run(path) == 0
    said = capsys.readouterr()
    assert "Note: rows have length 1 and are compared by cosine." in said.out
    assert "cosine embeddings on feats (test), 5-D" in said.out
    assert said.err == ""
    found = scores(tmp_path, path.name)
    own = tmp_path / "own"
    own.mkdir()
    meta = json.dumps({"geometry": {"name": "cosine"}, "open_set": True})
    np.savez(own / "a_test.npz", embeddings=UNIT, ids=LABELS, temp=1.0, meta=np.array(meta))
    assert run(own) == 0
    assert found["retrieval"] == scores(own, "a_test.npz")["retrieval"]


def test_length_counts_only_where_it_is_asked_for(tmp_path, capsys):
    rows = ROWS * (1 + 9 * (np.arange(24) % 3 == 0))[:, None]
    path = save(tmp_path, "npz", rows)
    assert run(path) == 0
    assert "compared by cosine, which does not count length" in capsys.readouterr().out
    by_cosine = scores(tmp_path, path.name)["retrieval"]
    assert run(path, "--geometry", "euclidean") == 0
    assert "compared by" not in capsys.readouterr().out
    assert scores(tmp_path, path.name)["retrieval"]["map@r"] < by_cosine["map@r"]


def test_keys_are_named_on_the_command_line(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", mine=UNIT, kinds=LABELS)
    assert run(tmp_path / "a.npz") == 2
    said = capsys.readouterr().err
    assert "it holds kinds, mine" in said and "--embeddings KEY" in said
    assert run(tmp_path / "a.npz", "--embeddings", "mine") == 2
    assert "--labels KEY" in capsys.readouterr().err
    assert run(tmp_path / "a.npz", "--embeddings", "mine", "--labels", "kinds") == 0


def test_rows_of_the_split_asked_for_are_scored(tmp_path, capsys):
    splits = np.where(np.arange(24) < 12, "train", "test")
    np.savez(tmp_path / "a.npz", X=UNIT, y=LABELS, split=splits)
    assert run(tmp_path / "a.npz") == 0
    assert "rows of the split test: 12 of 24" in capsys.readouterr().out
    assert scores(tmp_path, "a.npz")["n_rows"] == 12
    assert run(tmp_path / "a.npz", "--split", "train") == 0
    assert scores(tmp_path, "a.npz")["split"] == "train"
    assert run(tmp_path / "a.npz", "--split", "valid") == 2


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("geometry", "cosine", 'such as {"name": "cosine"}'),
        ("geometry", {"name": "cosin"}, "Unknown geometry 'cosin'"),
        ("geometry", {"name": "poincare"}, "does not fit"),
        ("geometry", {"name": "poincare", "c": -1}, "c > 0"),
        ("geometry", {"name": "cosine", "d": 1}, "does not fit"),
        ("train_class_counts", [], "got an empty list"),
        ("train_class_counts", [1, "a", 2], "got a list of 3: [1, 'a', 2]"),
        ("train_class_counts", 5, "one per class, such as [5, 3]"),
        ("class_names", "abc", "one per class"),
        ("class_names", [], "got an empty list"),
        ("open_set", "false", "true or false"),
        ("seed", 1.5, "a whole number"),
        ("dataset", 3, "a text"),
        ("objective", [], "a JSON object"),
        ("split", "tests", "one of train, valid, test"),
    ],
)
def test_a_value_of_the_wrong_kind_in_meta_is_named(tmp_path, capsys, key, value, words):
    folder = make_run(tmp_path, {"name": "cosine"})
    path = folder / "toy_test.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"])) | {key: value}
    np.savez(path, **{**arrays, "meta": np.array(json.dumps(meta))})
    assert run(folder) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for word in (str(path), f"meta: {key}", words, "rite the file again"):
        assert word in said.err


def test_figures_of_two_files_in_one_folder_have_names_of_their_own(tmp_path):
    for kind in ("npz", "csv"):
        save(tmp_path, kind)
    words = [str(tmp_path / f"feats.{kind}") for kind in ("npz", "csv")]
    assert evaluate(parse_evaluate(words)) == 0
    maps = sorted(path.name for path in tmp_path.glob("*embedding_map.png"))
    assert maps == ["feats_csv_embedding_map.png", "feats_npz_embedding_map.png"]


def test_the_table_of_rows_is_written_and_scored_like_the_file(tmp_path, capsys):
    path = save(tmp_path, "npz")
    table = tmp_path / "new" / "rows.parquet"
    assert run(path, "--table", table) == 0
    assert "rows.parquet" in capsys.readouterr().out
    rows = pq.read_table(table).to_pydict()
    assert np.mean(rows["hit"]) == scores(tmp_path, path.name)["retrieval"]["recall@1"]
    assert run(table) == 0
    assert scores(table.parent, table.name)["retrieval"] == scores(tmp_path, path.name)["retrieval"]


def test_a_table_needs_one_file_and_a_name(tmp_path, capsys):
    path = save(tmp_path, "npz")
    other = save(tmp_path, "parquet")
    before = other.read_bytes()
    assert run(path, other, "--table", tmp_path / "rows.parquet") == 2
    assert "rows of one file, and 2 are scored" in capsys.readouterr().err
    assert run(other, "--table", other) == 2
    assert "is the file that is scored" in capsys.readouterr().err
    (tmp_path / "a.parquet").mkdir()
    assert run(path, "--table", tmp_path / "a.parquet") == 2
    assert "is a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(path, "--table", tmp_path / "rows.csv")
    assert "ends in .parquet" in capsys.readouterr().err
    assert other.read_bytes() == before and not (tmp_path / "metrics.json").exists()
