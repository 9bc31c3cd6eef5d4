"""Tables as people and spreadsheets write them."""

import csv

import pytest

from vmf_embeddings.datasets.csv_lines import read_lines

LINES = {
    2: {"label": "cat", "path": "a/1.jpg", "split": "train"},
    3: {"label": "dog, big", "path": "b/ö 2.jpg", "split": "test"},
}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_newlines_and_byte_order_marks_do_not_matter(
    tmp_path, separator, newline, encoding
):
    table = tmp_path / "t.csv"
    with table.open("w", newline="", encoding=encoding) as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator=newline)
        writer.writerows([["label", "path", "split"], *(line.values() for line in LINES.values())])
    assert read_lines(table) == LINES


def test_capitals_and_blanks_in_the_header_and_blank_lines_do_not_matter(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("Label, PATH , split\n\n cat , a.jpg,train,,\n")
    assert read_lines(table) == {3: {"label": "cat", "path": "a.jpg", "split": "train"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,path,spilt\n", "did you mean 'spilt' to be it"),
        ("class,target,path\n", "'class' and 'target': name the one that is meant"),
        (
            "label,path,set\ncat,a.jpg,train\ncat,b.jpg,Val\n",
            "'set' holds Val, train: name it 'split'",
        ),
        ("label,paht,split\n", "did you mean 'paht' to be it"),
        ("label,path,split,label\n", "two columns 'label'"),
        ("label,path,split\ncat,a,b.jpg,train\n", "line 2: 4 values for 3 columns"),
        ("label,path,split\ncat,a.jpg,train\n,b.jpg,train\n", "line 3: empty label or path"),
        ('label,path,split\ncat,"a.jpg,train\n' + 200_000 * "x", "is a quote left open"),
        ("label,path,split\n", "no rows"),
        ("", "no column 'label'"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, text, message):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_lines(table)


def test_columns_have_the_names_that_other_programs_give_them(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(",Filename,class,remark\n0,a.jpg,cat,train\n1,b.jpg,dog,train\n")
    rows = [("a.jpg", "cat", "0"), ("b.jpg", "dog", "1")]
    assert read_lines(table) == {
        2 + i: {"": index, "path": path, "label": label, "remark": "train"}
        for i, (path, label, index) in enumerate(rows)
    }


def test_the_usual_name_of_a_column_counts_before_others(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("image,class,label,path,splits\nx,1,cat,a.jpg,train\n")
    line = {"image": "x", "class": "1", "label": "cat", "path": "a.jpg", "split": "train"}
    assert read_lines(table) == {2: line}
