"""The table of rows: neighbours, hits and confidences are those that the scores are made of."""

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import vmf_embeddings as vmf
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.map_positions import map_positions
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_table import N_NEIGHBOURS, write_row_table
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.geometry import Cosine, Euclidean, from_meta

N, D, C = 60, 5, 4
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % C
ROWS = (RNG.normal(size=(C, D)) * 1.2)[LABELS] + RNG.normal(size=(N, D))
NAMES = ["ant", "bee", "cat", "dog"]
OPTIONS = EvaluationOptions(paths=(), recall=(1,))


def evaluated(tmp_path, geometry="cosine", **fields):
    constants = {"c": 0.1} if geometry == "poincare" else {}
    meta = {"class_names": NAMES, "open_set": False, "geometry": {"name": geometry, **constants}}
    file = vmf.EmbeddingFile(ROWS, LABELS, **{"meta": meta, **fields})
    path = tmp_path / "toy_test.npz"
    return EvaluatedFile(path, path, file, from_meta({"name": geometry, **constants}))


def written(one, tmp_path):
    path = write_row_table(one, tmp_path / "new/rows.parquet", OPTIONS)
    table = pq.read_table(path)
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize("geometry", ["cosine", "euclidean", "vmf", "poincare"])
def test_hits_are_recall_at_1_and_neighbours_those_of_search(tmp_path, geometry):
    one = evaluated(tmp_path, geometry)
    rows = written(one, tmp_path)
    assert np.mean(rows["hit"]) == pytest.approx(
        score(one, OPTIONS).sections["retrieval"]["recall@1"]
    )
    hits = vmf.search(ROWS, ROWS, N_NEIGHBOURS, one.geometry, exclude=np.arange(N))
    found = [neighbours["ids"] for neighbours in rows["neighbors"]]
    assert found == hits.indices.tolist()
    for row, neighbours in enumerate(rows["neighbors"]):
        assert neighbours["distances"] == sorted(neighbours["distances"])
        assert rows["hit"][row] == (LABELS[neighbours["ids"][0]] == LABELS[row])
    assert rows["label"] == [NAMES[label] for label in LABELS]
    assert rows["row"] == list(range(N)) and set(rows["split"]) == {"test"}


def test_distances_are_those_of_the_geometry(tmp_path):
    for geometry in ("euclidean", "poincare"):
        one = evaluated(tmp_path, geometry)
        rows = written(one, tmp_path)
        points = one.geometry.project(torch.from_numpy(ROWS).float().double())
        every = (
            torch.cdist(points, points)
            if geometry == "euclidean"
            else one.geometry.distance(points, points)
        )
        for row, neighbours in enumerate(rows["neighbors"]):
            wanted = every[row, neighbours["ids"]].tolist()
            assert neighbours["distances"] == pytest.approx(wanted, rel=1e-5)


def test_rows_of_the_same_image_and_outside_the_gallery_are_no_neighbours(tmp_path):
    is_gallery = np.arange(N) >= 10
    paths = [f"{n // 2}.png" for n in range(N)]
    rows = written(evaluated(tmp_path, is_gallery=is_gallery, paths=paths), tmp_path)
    for row, neighbours in enumerate(rows["neighbors"]):
        assert all(other >= 10 and other // 2 != row // 2 for other in neighbours["ids"])
    assert rows["path"] == paths


def test_a_gallery_smaller_than_the_number_of_neighbours_gives_shorter_lists(tmp_path):
    is_gallery = np.arange(N) < 2
    rows = written(evaluated(tmp_path, is_gallery=is_gallery), tmp_path)
    assert [len(neighbours["ids"]) for neighbours in rows["neighbors"]] == [1, 1, *[2] * (N - 2)]
    alone = written(evaluated(tmp_path, is_gallery=np.arange(N) < 1), tmp_path)
    assert alone["neighbors"][0] == {"ids": [], "distances": []} and not alone["hit"][0]


def test_predictions_of_a_closed_set_are_named(tmp_path):
    logits = RNG.normal(size=(N, 3, C))
    rows = written(evaluated(tmp_path, logits=logits), tmp_path)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert rows["predicted"] == [NAMES[guess] for guess in p.mean(1).argmax(1)]
    assert rows["probability"] == pytest.approx(p.mean(1).max(1).tolist(), rel=1e-5)
    assert rows["correct"] == (p.mean(1).argmax(1) == LABELS).tolist()
    assert "predicted" not in written(evaluated(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("geometry", "name", "factor"),
    [("vmf", "kappa", 1), ("cosine", "norm", 1), ("poincare", "distance_to_origin", 2)],
)
def test_the_confidence_has_the_name_of_what_it_is(tmp_path, geometry, name, factor):
    rows = written(evaluated(tmp_path, geometry), tmp_path)
    assert rows[name] == pytest.approx((factor * np.linalg.norm(ROWS, axis=1)).tolist(), rel=1e-5)


def test_the_table_is_an_embedding_file(tmp_path):
    one = evaluated(tmp_path)
    written(one, tmp_path)
    back = vmf.read(tmp_path / "new/rows.parquet")
    np.testing.assert_array_equal(back.embeddings, one.file.embeddings)
    np.testing.assert_array_equal(back.ids, LABELS)
    assert back.meta["class_names"] == NAMES and back.meta["geometry"] == {"name": "cosine"}


def test_classes_without_names_are_their_numbers(tmp_path):
    assert written(evaluated(tmp_path, meta=None), tmp_path)["label"] == LABELS.tolist()
    original = written(evaluated(tmp_path, meta=None, original_ids=LABELS + 7), tmp_path)
    assert original["label"] == [str(label + 7) for label in LABELS]


def test_the_library_writes_the_same_table(tmp_path):
    one = evaluated(tmp_path, "vmf")
    rows = written(one, tmp_path)
    vmf.write(one.file, tmp_path / "toy_test.npz")
    for given in (one.file, tmp_path / "toy_test.npz"):
        table = pq.read_table(vmf.write_table(given, tmp_path / "again.parquet")).to_pydict()
        assert {name: table[name] for name in table if name != "split"} == {
            name: rows[name] for name in rows if name != "split"
        }
    assert "split" in table and table["split"] == rows["split"]
    with pytest.raises(ValueError, match="expected a file .parquet"):
        vmf.write_table(one.file, tmp_path / "again.csv")


def test_rows_without_labels_have_neighbours_and_no_hits(tmp_path):
    table = pq.read_table(vmf.write_table(vmf.EmbeddingFile(ROWS), tmp_path / "a.parquet"))
    rows = table.to_pydict()
    assert not {"hit", "label", "ids", "split"} & rows.keys()
    hits = vmf.search(ROWS, ROWS, N_NEIGHBOURS, exclude=np.arange(N))
    assert [neighbours["ids"] for neighbours in rows["neighbors"]] == hits.indices.tolist()
    back = vmf.read(tmp_path / "a.parquet")
    assert back.ids is None and back.meta["geometry"] == {"name": "cosine"}


def test_places_on_the_map():
    flat = RNG.normal(size=(20, 2))
    np.testing.assert_array_equal(map_positions(flat, Euclidean(), 0), flat)
    unit = torch.nn.functional.normalize(torch.from_numpy(RNG.normal(size=(400, 3)) + 1), dim=1)
    disc = map_positions(unit.numpy(), Cosine(), 0)
    centre = unit.mean(0) / unit.mean(0).norm()
    # Lambert's map: the distance from the middle is the chord to the centre
    chords = (unit - centre).norm(dim=1).numpy()
    np.testing.assert_allclose(np.linalg.norm(disc, axis=1), chords, rtol=1e-9)
    many = RNG.normal(size=(2500, 6)) * [5, 1, 9, 1, 1, 1]
    places = map_positions(many, Euclidean(), 0)
    assert np.corrcoef(places[:, 0], many[:, 2])[0, 1] ** 2 > 0.99
    assert np.corrcoef(places[:, 1], many[:, 0])[0, 1] ** 2 > 0.99
    few = map_positions(RNG.normal(size=(3, 6)), Euclidean(), 0)
    assert few.shape == (3, 2) and np.isfinite(few).all()


def test_duckdb_reads_the_table(tmp_path):
    written(evaluated(tmp_path), tmp_path)
    table = str(tmp_path / "new/rows.parquet")
    found = duckdb.sql(
        f"SELECT label, avg(hit::INT) AS hits FROM '{table}' GROUP BY label ORDER BY label"
    ).fetchall()
    assert [name for name, _ in found] == NAMES
    nearest = duckdb.sql(
        f"SELECT a.row, b.row FROM '{table}' a JOIN '{table}' b ON a.neighbors.ids[1] = b.row "
        "WHERE a.label <> b.label"
    ).fetchall()
    misses = duckdb.sql(f"SELECT count(*) FROM '{table}' WHERE NOT hit").fetchall()[0]
    assert len(nearest) == misses[0]
