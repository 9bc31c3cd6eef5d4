"""In-shop retrieval from its partition file: queries are sought in the gallery alone."""

import numpy as np
import pytest
import torch

from tests.datasets.benchmarks import build
from tests.datasets.images import draw
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings
from vmf_embeddings.metrics.retrieval import retrieval

TRAIN, TEST = range(1, 21), range(31, 37)


def rows():
    """(path, item, role): 3 images of 20 articles to train, 2 queries and 3 in the gallery of 6."""
    for item in (*TRAIN, *TEST):
        roles = (
            ["train"] * 3 if item in TRAIN else ["query", "gallery", "gallery", "query", "gallery"]
        )
        for i, role in enumerate(roles):
            yield f"img/WOMEN/Tops/id_{item:08d}/{i + 1:02d}_front.jpg", item, role


def write(root, images, table=None):
    table = list(rows()) if table is None else table
    lines = [str(len(table)), "image_name item_id evaluation_status"]
    lines += [f"{path:<60} id_{item:08d} {role:>10}" for path, item, role in table]
    root.mkdir(parents=True, exist_ok=True)
    (root / "list_eval_partition.txt").write_text("\n".join([*lines, ""]))
    for i, (path, item, _) in enumerate(table):
        draw(images / path, seed=i, label=item, size=(12, 16))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("inshop")
    return write(root, root)


def test_the_test_split_has_queries_and_a_gallery(root):
    data = build("inshop", root)
    data.check()
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    assert (len(train) + len(valid), len(test)) == (60, 30)
    assert (train.n_classes, valid.n_classes, test.n_classes) == (17, 3, 6)
    assert train.is_query is None and valid.is_gallery is None
    assert test.is_query.equal(~test.is_gallery)
    assert test.is_query.sum() == 12
    assert test.original_labels.unique().tolist() == list(TEST)
    assert test[0]["examples"].shape == (3, 224, 224)


def test_the_published_folders_are_read_alike(root, tmp_path):
    write(tmp_path / "Eval", tmp_path / "Img")
    one, other = build("inshop", tmp_path), build("inshop", root)
    one.check()
    assert all(one.split(s).identity == other.split(s).identity for s in ("train", "valid", "test"))


def test_an_embedding_file_of_it_scores_queries_against_the_gallery(root, tmp_path):
    test = build("inshop", root).split("test")
    embeddings = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    flags = {"is_query": test.is_query.numpy(), "is_gallery": test.is_gallery.numpy()}
    path = tmp_path / "inshop_test.npz"
    save_embeddings(path, EmbeddingFile(embeddings, test.labels.numpy(), **flags))
    read = load_embeddings(path)
    flags = {"is_query": read.is_query, "is_gallery": read.is_gallery}
    scores = retrieval(torch.from_numpy(read.embeddings), read.ids, metric="ip", **flags)
    x = torch.from_numpy(embeddings).double()
    queries, gallery = x[test.is_query], x[test.is_gallery]
    nearest = test.labels[test.is_gallery][(queries @ gallery.T).argmax(1)]
    expected = (nearest == test.labels[test.is_query]).double().mean()
    assert scores.n_queries == 12 and 0 < expected < 1
    assert scores.recall[1] == pytest.approx(float(expected))


@pytest.mark.parametrize("validation, n_train", [("by_sample", 20), ("none", 20)])
def test_all_articles_can_train(root, validation, n_train):
    data = build("inshop", root, validation=validation, valid_share=0.34)
    assert data.split("train").n_classes == n_train


def test_the_published_validation_classes_do_not_exist(root):
    with pytest.raises(ValueError, match=r"inshop has no published .*valid_share=0.15"):
        build("inshop", root, valid_share=None).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "states '90' images in its first line, but lists 89"),
        (lambda lines: [*lines[:2], "a.jpg id_1", *lines[3:]], "line 3: expected 'path id_0"),
        (lambda lines: [*lines[:2], "a.jpg id_1 trian", *lines[3:]], "line 3: expected"),
        (lambda lines: [li.replace(" query", " gallery") for li in lines], "has no query images"),
        (lambda lines: [*lines[:2], "../../a.jpg id_1 train", *lines[3:]], "leads out"),
        (lambda lines: [*lines[:-1], lines[-1].replace("id_00000036 ", "id_00000001 ")], "share 1"),
    ],
)
def test_a_malformed_partition_is_refused(root, tmp_path, change, message):
    lines = (root / "list_eval_partition.txt").read_text().splitlines()
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(change(lines)))
    with pytest.raises(ValueError, match=message):
        build("inshop", tmp_path).check()


def test_a_missing_partition_is_named_with_what_to_type(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset=inshop dataset.params.dataset_path=PATH"):
        build("inshop", tmp_path).check()
