"""Feature vectors as a data set: formats, splits, labels, what is refused and what is told."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vmf_embeddings.datasets import Features, LongTailed, VectorSplit
from vmf_embeddings.datasets.features_contents import row_digests
from vmf_embeddings.datasets.features_statistics import column_statistics

N, F = 40, 5
OPTIONS = {
    **dict.fromkeys(("embeddings", "labels", "split", "open_set")),
    **{"valid_share": 0.25, "test_share": 0.25, "standardize": False, "margin_warmup_epochs": 0},
}
NAMES = np.array(["ant", "bee", "cat", "dog"])
FORMATS = (".npz", ".npy", ".csv", ".csv.gz", ".parquet", ".safetensors")


def features(path: Path, **options: object) -> Features:
    return Features(path, **{**OPTIONS, **options})


def vectors(n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, F)).astype(np.float32)


def labels(n: int = N) -> np.ndarray:
    return np.arange(n) % 4


def splits(n: int = N) -> np.ndarray:
    return np.array(["Train", "val", "test", "training"])[np.arange(n) // 4 % 4]


def write(path: Path, rows: np.ndarray, classes: np.ndarray, split=None) -> Path:
    """A file of any of the formats, written with the libraries that people use."""
    extra = {} if split is None else {"split": split}
    if path.name.endswith(".npz"):
        np.savez(path, features=rows, y=classes, **extra)
    elif path.name.endswith(".npy"):
        np.save(path, rows)
        np.save(path.with_name(f"{path.stem}_labels.npy"), classes)
    elif path.name.endswith(".safetensors"):
        save_file = pytest.importorskip("safetensors.numpy").save_file
        save_file({"features": rows, "labels": classes.astype(np.int64)}, path)
    else:
        pandas = pytest.importorskip("pandas")
        columns = {f"f{i}": rows[:, i] for i in range(rows.shape[1])}
        table = pandas.DataFrame({"label": classes, **extra, **columns})
        writer = table.to_parquet if path.name.endswith(".parquet") else table.to_csv
        writer(path, index=False)
    return path


def examples(split: VectorSplit) -> np.ndarray:
    return split.batch(torch.arange(len(split)))["examples"].numpy()


def test_every_format_gives_the_same_splits_bit_by_bit(tmp_path):
    sets = [features(write(tmp_path / f"a{end}", vectors(), labels())) for end in FORMATS]
    for name in ("train", "valid", "test"):
        first, *others = (data.split(name) for data in sets)
        assert first.batch(torch.arange(3))["examples"].dtype == torch.float32
        for other in others:
            assert np.array_equal(examples(first), examples(other))
            assert torch.equal(first.labels, other.labels)
            assert first.identity == other.identity


def test_held_out_splits_share_out_the_rows(tmp_path):
    data = features(write(tmp_path / "a.npz", vectors(), labels()))
    data.check()
    parts = {name: examples(data.split(name)) for name in ("train", "valid", "test")}
    assert [len(part) for part in parts.values()] == [22, 8, 10]
    together = np.concatenate(list(parts.values()))
    assert np.array_equal(np.unique(together, axis=0), np.unique(vectors(), axis=0))
    assert data.example_shape == (F,)
    assert not data.open_set
    counts = [torch.bincount(data.split(name).labels, minlength=4) for name in parts]
    assert all(int(count.min()) >= 1 for count in counts)


def test_whole_classes_are_held_out_for_retrieval(tmp_path):
    data = features(write(tmp_path / "a.npz", vectors(), NAMES[labels()]), open_set=True)
    classes = data.classes_of_splits
    assert sum(map(len, classes.values())) == len(set().union(*classes.values())) == 4
    item = data.split("test")[0]
    assert item["examples"].shape == (F,) and "original_ids" in item


def test_a_column_of_splits_is_obeyed(tmp_path):
    data = features(write(tmp_path / "a.csv", vectors(), labels(), splits()))
    data.check()
    wanted = {"train": ("Train", "training"), "valid": ("val",), "test": ("test",)}
    for name, words in wanted.items():
        mask = np.isin(splits(), words)
        assert np.array_equal(examples(data.split(name)), vectors()[mask])
        assert np.array_equal(data.split(name).labels.numpy(), labels()[mask])


def test_a_split_column_of_any_name_can_be_given(tmp_path):
    np.savez(tmp_path / "a.npz", x=vectors(), y=labels(), fold=splits())
    data = features(tmp_path / "a.npz", split="fold")
    assert np.array_equal(examples(data.split("test")), vectors()[splits() == "test"])
    with pytest.raises(ValueError, match=r"has no split 'part'; it holds .*fold"):
        features(tmp_path / "a.npz", split="part").check()


def test_files_of_a_folder_are_its_splits(tmp_path):
    for i, name in enumerate(("digits_train", "digits_val", "digits_test")):
        write(tmp_path / f"{name}.npy", vectors(12, i), NAMES[labels(12)])
    data = features(tmp_path)
    data.check()
    for i, name in enumerate(("train", "valid", "test")):
        assert np.array_equal(examples(data.split(name)), vectors(12, i))
    assert data.class_names == NAMES.tolist()


def test_validation_is_held_out_of_train_alone(tmp_path):
    write(tmp_path / "train.npz", vectors(), labels())
    write(tmp_path / "test.npz", vectors(8, 1), labels(8))
    data = features(tmp_path)
    assert len(data.split("train")) + len(data.split("valid")) == N
    assert "valid 10 vectors of 4 classes (held out of train)" in data.summary
    assert np.array_equal(examples(data.pool()), vectors())


def test_retrieval_follows_from_classes_that_train_lacks(tmp_path):
    write(tmp_path / "train.npz", vectors(), labels())
    write(tmp_path / "test.npz", vectors(8, 1), labels(8) + 4)
    data = features(tmp_path)
    assert data.open_set
    assert data.split("test").original_labels.tolist() == (labels(8) + 4).tolist()
    assert data.split("test").labels.tolist() == labels(8).tolist()
    with pytest.raises(ValueError, match="8 test vectors of classes that train lacks, such as 4"):
        features(tmp_path, open_set=False).check()


def test_a_file_that_this_package_wrote_is_a_feature_file(tmp_path):
    from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

    for i, name in enumerate(("train", "test")):  # an open set: ids begin at 0 in both
        given = {"embeddings": vectors(8, i), "ids": labels(8) // 2, "original_ids": labels(8)}
        given["original_ids"] = given["ids"] + 2 * i
        meta = {"open_set": True, "class_names": NAMES[2 * i : 2 * i + 2].tolist()}
        save_embeddings(tmp_path / f"a_{name}.npz", EmbeddingFile(**given, meta=meta))
        save_embeddings(tmp_path / "b" / f"a_{name}.npz", EmbeddingFile(**given))
    named, numbered = features(tmp_path, valid_share=0.5), features(tmp_path / "b")
    assert named.classes_of_splits["test"] == ["cat", "dog"]
    assert named.open_set and numbered.open_set
    assert numbered.classes_of_splits["test"] == ["2", "3"]


def test_query_and_gallery_flags_and_paths_are_kept(tmp_path):
    flags = {"is_query": np.arange(N) % 2 == 0, "is_gallery": np.arange(N) % 2 == 1}
    paths = np.array([f"docs/{i}.txt" for i in range(N)])
    np.savez(tmp_path / "a.npz", x=vectors(), y=labels(), split=splits(), paths=paths, **flags)
    test = features(tmp_path / "a.npz").split("test")
    mask = splits() == "test"
    assert test.is_query.tolist() == flags["is_query"][mask].tolist()
    assert test.is_gallery.tolist() == flags["is_gallery"][mask].tolist()
    assert test.paths == paths[mask].tolist()


def test_identity_depends_on_numbers_and_labels_alone(tmp_path):
    def identities(name, rows, classes):
        data = features(write(tmp_path / name, rows, classes))
        return [data.split(split).identity for split in ("train", "valid", "test")]

    one = identities("a.npz", vectors(), labels())
    assert len(set(one)) == 3
    assert identities("b.npz", vectors().astype("f8"), labels().astype("u1")) == one
    changed = vectors()
    changed[3, 2] += 1e-6
    assert identities("c.npz", changed, labels()) != one
    assert identities("d.npz", vectors(), labels()[::-1]) != one


def test_equal_vectors_have_equal_digests_and_0_equals_minus_0():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    digests = row_digests(rows, "a")
    assert (digests[0] == digests[1]).all() and (digests[0] != digests[2]).any()


def test_equal_vectors_are_held_out_together(tmp_path):
    rows = np.repeat(vectors(10), 4, axis=0)
    data = features(write(tmp_path / "a.npz", rows, np.repeat(labels(10), 4)))
    seen = [set(map(bytes, examples(data.split(n)))) for n in ("train", "valid", "test")]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert not data.shared


def test_equal_vectors_in_two_splits_or_under_two_labels_are_named(tmp_path, caplog):
    rows = vectors()
    rows[8], rows[1], rows[21] = rows[0], rows[2], rows[20]
    data = features(write(tmp_path / "a.npz", rows, NAMES[labels()], splits()))
    with caplog.at_level(logging.WARNING):
        data.check()
    told = " ".join(caplog.messages)
    assert "1 vector is there more than once, in two splits, such as row 0 (train, ant) and row 8 (test, ant)" in told  # noqa: E501  # fmt: skip
    assert "2 vectors are there more than once, under two labels, such as row 1 (train, bee) and row 2 (train, cat)" in told  # noqa: E501  # fmt: skip


@pytest.mark.parametrize("value", (np.nan, np.inf, 1e39))
def test_numbers_that_are_not_finite_are_refused_with_their_row(tmp_path, value):
    rows = vectors().astype(np.float64)
    rows[7, 2] = value
    with pytest.raises(ValueError, match=r"row 7 \(counted from 0\) holds NaN, infinity") as told:
        features(write(tmp_path / "a.npz", rows, labels())).check()
    assert str(told.value).count("a.npz") == 1


def test_a_key_of_another_name_is_asked_for_in_the_words_of_training(tmp_path):
    np.savez(tmp_path / "a.npz", mine=vectors(), kinds=labels())
    with pytest.raises(ValueError, match="it holds kinds, mine.*dataset.params.embeddings=KEY"):
        features(tmp_path / "a.npz").check()
    with pytest.raises(ValueError, match="dataset.params.labels=KEY"):
        features(tmp_path / "a.npz", embeddings="mine").check()
    features(tmp_path / "a.npz", embeddings="mine", labels="kinds").check()


@pytest.mark.parametrize("end", (".npz", ".csv"))
def test_a_column_that_is_no_split_can_be_passed_over(tmp_path, end):
    path = write(tmp_path / f"a{end}", vectors(), labels(), (np.arange(N) % 5).astype(str))
    with pytest.raises(ValueError, match="add dataset.params.split=none, and rows are held out"):
        features(path).check()
    data = features(path, split="none")
    data.check()
    assert "valid 8 vectors of 4 classes (held out)" in data.summary


@pytest.mark.parametrize(
    ("word", "told"), [("trian", "did you mean train?"), ("fold 3", "Known: train, training")]
)
def test_an_unknown_word_for_a_split_is_refused(tmp_path, word, told):
    names = splits().astype("<U9")
    names[5] = word
    path = write(tmp_path / "a.npz", vectors(), labels(), names)
    with pytest.raises(ValueError, match=r"row 5 \(counted from 0\) has the split") as error:
        features(path).check()
    assert told in str(error.value)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset.params.dataset_path=PATH"):
        features(tmp_path / "none.npz").check()
    with pytest.raises(FileNotFoundError, match="no file of training vectors: .*found none"):
        features(tmp_path).check()
    write(tmp_path / "a_test.npz", vectors(), labels())
    with pytest.raises(FileNotFoundError, match="found a_test.npz"):
        features(tmp_path).check()
    path = write(tmp_path / "a.csv", vectors(), labels(), np.full(N, "test"))
    with pytest.raises(ValueError, match="no training vectors, only test"):
        features(path).check()
    np.savez(tmp_path / "b.npz", x=vectors())
    with pytest.raises(ValueError, match="labels"):
        features(tmp_path / "b.npz").check()


def test_a_pipe_is_no_folder(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a.npz is not a regular file but a folder, a pipe"):
        features(tmp_path / "a.npz").check()


def test_files_that_do_not_go_together_are_refused(tmp_path):
    write(tmp_path / "train.npz", vectors(), labels())
    np.savez(tmp_path / "test.npz", x=vectors()[:, 1:], y=labels())
    with pytest.raises(ValueError, match=r"differ in length: train.npz 5, test.npz 4"):
        features(tmp_path).check()
    write(tmp_path / "train.csv", vectors(), labels())
    with pytest.raises(ValueError, match="two files for train, train.csv and train.npz"):
        features(tmp_path).check()


def test_labels_of_another_spelling_in_another_split_are_refused(tmp_path):
    write(tmp_path / "train.npz", vectors(), NAMES[labels()])
    write(tmp_path / "test.npz", vectors(8, 1), np.char.capitalize(NAMES)[labels(8)])
    with pytest.raises(ValueError, match="written"):
        features(tmp_path).check()


def test_a_missing_label_is_named_with_its_file_and_row(tmp_path):
    write(tmp_path / "train.npz", vectors(), NAMES[labels()])
    bad = NAMES[labels(8)].astype("<U3")
    bad[3] = ""
    write(tmp_path / "test.npz", vectors(8, 1), bad)
    with pytest.raises(ValueError, match=r"test.npz: labels: row 3 \(counted from 0\)"):
        features(tmp_path).check()


@pytest.mark.parametrize("end", (".npy", ".npz", ".safetensors"))
def test_files_are_mapped_and_not_copied(tmp_path, end):
    split = features(write(tmp_path / f"a{end}", vectors(), labels())).split("train")
    base = split.vectors
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"


def test_a_batch_is_the_items_and_a_copy_elsewhere_gives_the_same(tmp_path):
    split = features(write(tmp_path / "a.npz", vectors(), labels()), open_set=True).split("train")
    indices = torch.tensor([3, 0, 3])
    items = [split[i] for i in indices.tolist()]
    for each in (split, split.to(torch.device("cpu"))):
        batch = each.batch(indices)
        assert torch.equal(batch["examples"], torch.stack([item["examples"] for item in items]))
        assert batch["ids"].tolist() == [item["ids"] for item in items]
        assert batch["original_ids"].tolist() == [item["original_ids"] for item in items]
    assert split.n_bytes == 4 * len(split) * F


def test_vectors_have_one_view_and_no_augmentation(tmp_path):
    data = features(write(tmp_path / "a.npz", vectors(), labels()))
    assert data.split("train").unit == "vectors"
    assert data.split("train", augment=True) is data.split("train")
    assert data.image_transform is None
    with pytest.raises(ValueError, match="feature vectors are not augmented"):
        data.split("train").with_views(2)


def test_statistics_are_those_of_the_training_vectors(tmp_path):
    rows = vectors() * 3 + 100
    rows[:, 1] = 0.1
    split = features(write(tmp_path / "a.npz", rows, labels())).split("train")
    mean, std = column_statistics(split)
    wanted = examples(split).astype(np.float64)
    np.testing.assert_allclose(mean, wanted.mean(0), rtol=1e-13)
    others = [0, 2, 3, 4]
    np.testing.assert_allclose(std[others], wanted.std(0)[others], rtol=1e-12)
    assert std[1] == 1.0


def test_statistics_do_not_depend_on_the_blocks(tmp_path, monkeypatch):
    split = features(write(tmp_path / "a.npz", vectors(), labels())).split("train")
    whole = column_statistics(split)
    monkeypatch.setattr("vmf_embeddings.datasets.features_statistics._BLOCK", 4 * F)
    for one, other in zip(whole, column_statistics(split), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)


def test_vectors_can_be_subsampled_to_a_long_tail(tmp_path):
    data = LongTailed(
        features(write(tmp_path / "a.npz", vectors(400), labels(400))),
        **{"profile": "exp", "imbalance_factor": 10, "n_max": None, "subset": "seeded"},
        **{"subset_seed": 0, "validation": "every_class", "balanced_test": True, "views": 1},
        margin_warmup_epochs=0,
    )
    data.check()
    counts = data.split("train").class_counts
    assert counts[0] >= 9 * counts[-1] and (counts.diff() < 0).all()
    assert data.split("train").batch(torch.arange(4))["examples"].shape == (4, F)
    assert data.example_shape == (F,)
    assert data.split("test").class_counts.unique().numel() == 1
