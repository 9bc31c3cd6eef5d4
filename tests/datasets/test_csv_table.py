"""People's own tables."""

import csv

import pytest

from tests.datasets.images import draw
from vmf_embeddings.datasets.csv_table import CsvTable
from vmf_embeddings.datasets.folder import Folder

OPTIONS = {
    "csv_file": None,
    "open_set": None,
    "valid_share": 0.15,
    "image_size": 16,
    "augment": "cub",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "margin_warmup_epochs": 0,
    "background": "white",
    "max_pixels": None,
    "on_error": "refuse",
}


def table(path, **options):
    return CsvTable(path, **(OPTIONS | options))


def write(path, rows, header=("label", "path", "split")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def closed(tmp_path):
    """Three classes with text labels, in all splits."""
    rows = []
    for label, name in enumerate(["wren", "robin", "tit"]):
        for i, split in enumerate(["train", "train", "validation", "test"]):
            draw(tmp_path / "img" / f"{name}{i}.png", seed=i, label=label)
            rows.append((name, f"img/{name}{i}.png", split))
    write(tmp_path / "birds.csv", rows)
    return tmp_path


@pytest.fixture
def opened(tmp_path):
    """1,591 classes of three images at a smaller scale: ten to train, eight to test."""
    rows = []
    for label in range(18):
        for i in range(3):
            draw(tmp_path / f"{label}_{i}.jpg", seed=i, label=label)
            rows.append((100 * label, f"{label}_{i}.jpg", "train" if label < 10 else "test"))
    write(tmp_path / "shop.csv", rows)
    return tmp_path


def test_closed_sets_share_the_classes_of_train(closed):
    data = table(closed)
    data.check()
    assert data.open_set is False
    for name, n in (("train", 6), ("valid", 3), ("test", 3)):
        split = data.split(name)
        assert len(split) == n
        assert split.class_names == ["robin", "tit", "wren"]
        assert "original_ids" not in split[0]
    assert data.split("test").labels.tolist() == [2, 0, 1]


def test_a_class_that_is_absent_from_test_keeps_its_number(closed):
    rows = [("a", "img/wren0.png", "train"), ("b", "img/tit0.png", "train")]
    rows += [("b", "img/tit1.png", "val"), ("b", "img/tit2.png", "test")]
    write(closed / "birds.csv", rows)
    test = table(closed).split("test")
    assert test.labels.tolist() == [1]
    assert test.class_counts.tolist() == [0, 1]
    assert test.n_classes == 2


def test_new_classes_in_test_make_an_open_set_and_valid_is_held_out_by_class(opened):
    data = table(opened)
    data.check()
    assert data.open_set is True
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    assert (len(test), test.n_classes) == (24, 8)
    assert test[3]["original_ids"] == 1100
    assert not set(train.original_labels.tolist()) & set(valid.original_labels.tolist())
    assert len(train) + len(valid) == 30
    assert set(train.class_counts.tolist()) == set(valid.class_counts.tolist()) == {3}


def test_some_new_classes_in_a_closed_set_are_refused_by_name(closed):
    rows = [("wren", "img/wren0.png", "train"), ("tit", "img/tit0.png", "train")]
    rows += [("wren", "img/wren1.png", "val"), ("robin", "img/robin0.png", "test")]
    rows += [("tit", "img/tit1.png", "test")]
    write(closed / "birds.csv", rows)
    with pytest.raises(ValueError, match=r"1 test image .* robin.*dataset.params.open_set=true"):
        table(closed).check()
    table(closed, open_set=True).check()


def test_valid_images_are_held_out_of_every_class_of_a_closed_set(closed):
    names = [f"{name}{i}" for name in ("wren", "robin", "tit") for i in range(4)]
    rows = [(name[:-1], f"img/{name}.png", "train") for name in names]
    draw(closed / "img" / "new.png", seed=9)
    write(closed / "birds.csv", [*rows, ("wren", "img/new.png", "test")])
    data = table(closed, valid_share=0.25)
    assert data.split("valid").class_counts.tolist() == [1, 1, 1]
    assert data.split("train").class_counts.tolist() == [3, 3, 3]
    assert not set(data.split("valid").paths) & set(data.split("train").paths)


def test_the_table_itself_may_be_named(closed):
    by_file, by_folder = table(closed / "birds.csv"), table(closed)
    by_file.check()
    assert by_file.split("test").paths == by_folder.split("test").paths
    assert by_file.split("test").identity == by_folder.split("test").identity


def test_paths_may_start_at_the_table_or_at_dataset_path(closed):
    (closed / "birds.csv").rename(closed / "img" / "birds.csv")
    from_root = table(closed, csv_file="img/birds.csv")
    from_root.check()
    rows = [(name, f"{name}0.png", "train") for name in ("wren", "tit")]
    write(closed / "img" / "birds.csv", [*rows, ("tit", "tit1.png", "val")])
    from_table = table(closed, csv_file="img/birds.csv")
    from_table.check()
    assert from_table.split("train").paths[0] == str(closed / "img" / "wren0.png")


def test_queries_and_gallery(closed):
    rows = [(name, f"img/{name}0.png", "train", "", "") for name in ("wren", "tit")]
    rows += [("wren", "img/wren1.png", "test", "True", "0"), ("tit", "img/tit1.png", "test", 0, 1)]
    rows += [("tit", "img/tit2.png", "val", "yes", "yes")]
    write(closed / "birds.csv", rows, ("label", "path", "split", "is_query", "is_gallery"))
    test = table(closed).split("test")
    assert test.is_query.tolist() == [True, False]
    assert test.is_gallery.tolist() == [False, True]


def test_with_queries_alone_everything_is_gallery(closed):
    rows = [("wren", f"img/wren{i}.png", "test", i % 2) for i in range(4)]
    write(closed / "birds.csv", rows, ("label", "path", "split", "is_query"))
    test = table(closed, open_set=True).split("test")
    assert test.is_query.tolist() == [False, True, False, True]
    assert test.is_gallery.tolist() == [True] * 4


def test_without_such_columns_there_are_no_queries(closed):
    assert table(closed).split("test").is_query is None
    assert table(closed).split("test").is_gallery is None


def test_a_missing_column_is_named(closed):
    write(closed / "birds.csv", [("a", "b", "c")], ("lable", "path", "split"))
    with pytest.raises(ValueError, match=r"no column 'label'; did you mean 'lable'"):
        table(closed).check()


def test_an_unknown_split_is_named_with_its_line(closed):
    rows = [("wren", "img/wren0.png", "train"), ("wren", "img/wren1.png", "tset")]
    write(closed / "birds.csv", rows)
    with pytest.raises(ValueError, match=r"line 3: unknown split 'tset'; did you mean test\?"):
        table(closed).check()


def test_an_unknown_flag_is_named(closed):
    rows = [("wren", "img/wren0.png", "test", "maybe")]
    write(closed / "birds.csv", rows, ("label", "path", "split", "is_query"))
    with pytest.raises(ValueError, match="column is_query holds 'maybe'"):
        table(closed).check()


@pytest.mark.parametrize("row", [("", "img/wren0.png", "train"), ("wren", "", "train"), ("wren",)])
def test_empty_cells_are_refused(closed, row):
    write(closed / "birds.csv", [("wren", "img/wren0.png", "train"), row])
    with pytest.raises(ValueError, match="empty label or path|unknown split"):
        table(closed).check()


def test_a_table_without_rows_is_refused(closed):
    write(closed / "birds.csv", [])
    with pytest.raises(ValueError, match="no rows"):
        table(closed).check()


def test_an_absent_split_is_named_with_those_that_exist(closed):
    rows = [("wren", f"img/wren{i}.png", "train") for i in range(4)]
    write(closed / "birds.csv", rows)
    with pytest.raises(ValueError, match="no test images; it has train, valid"):
        table(closed).split("test")


def test_paths_cannot_lead_out_unless_they_are_absolute(closed, tmp_path_factory):
    outside = draw(tmp_path_factory.mktemp("outside") / "x.png", seed=0)
    rows = [("wren", "img/wren0.png", "train"), ("wren", str(outside), "valid")]
    write(closed / "birds.csv", rows)
    assert table(closed).split("valid").paths == [str(outside)]
    write(closed / "birds.csv", [*rows, ("wren", "../outside0/x.png", "test")])
    with pytest.raises(ValueError, match="leads out"):
        table(closed).check()


def test_no_table_or_two_are_named(closed):
    write(closed / "other.csv", [])
    with pytest.raises(FileNotFoundError, match=r"found birds.csv, other.csv.*csv_file=NAME"):
        table(closed).check()
    with pytest.raises(FileNotFoundError, match="found none"):
        table(closed / "img").check()
    with pytest.raises(FileNotFoundError, match=f"one table at {closed / 'gone.csv'}, found none"):
        table(closed / "gone.csv").check()


def test_other_encodings_are_named(closed):
    (closed / "birds.csv").write_bytes("label,path,split\nMöwe,a.png,train".encode("latin-1"))
    with pytest.raises(ValueError, match=r"birds\.csv is not UTF-8"):
        table(closed).check()


def test_nonsense_options_are_refused(closed):
    with pytest.raises(ValueError, match="augment=cubs; did you mean 'cub'"):
        table(closed, augment="cubs")
    with pytest.raises(ValueError, match="image_size must be >= 1"):
        table(closed, image_size=0)
    with pytest.raises(ValueError, match="three numbers each, std > 0"):
        table(closed, std=[0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"valid_share must lie in \(0, 1\)"):
        table(closed, valid_share=1.0)


@pytest.mark.parametrize("open_set", [None, False, True])
def test_without_a_column_split_rows_are_held_out_as_from_a_folder_of_classes(tmp_path, open_set):
    rows = []
    for label in range(10):
        for i in range(10):
            path = tmp_path / "images" / f"k{label}" / f"{i}.png"
            draw(path, seed=i, label=label)
            rows.append((f"k{label}", f"images/k{label}/{i}.png"))
    data = table(write(tmp_path / "own.csv", rows, ("label", "path")), open_set=open_set)
    folder_options = {key: value for key, value in OPTIONS.items() if key != "csv_file"}
    folder = Folder(
        tmp_path / "images", **(folder_options | {"open_set": open_set, "test_share": 0.2})
    )
    data.check()
    for split in ("train", "valid", "test"):
        ours, theirs = data.parts[split], folder.parts[split]
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert [ours.path_of(i) for i in range(len(ours.files))] == [
            theirs.path_of(i) for i in range(len(theirs.files))
        ]
    assert len(data.parts["test"].files) == 20
    assert data.open_set is bool(open_set)
