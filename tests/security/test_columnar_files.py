"""Parquet and safetensors files of others: no bomb, no lie and no damage is more than an error."""

import io
import json
import random
import re
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vmf_embeddings as vmf
from tests.embeddings.test_file import full_file
from vmf_embeddings.embeddings import open_embeddings, read_with_notes
from vmf_embeddings.untrusted.parquet_footer import read_pages
from vmf_embeddings.untrusted.thrift import ThriftError, ThriftReader

MEGABYTE = 1024  # of ru_maxrss
ROWS = [[1.0, 0.0], [0.0, 1.0]]


def is_refused(path, said, most_megabytes=40):
    """The reader says why, names the file, and takes little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for opener in (read_with_notes, open_embeddings):
        with pytest.raises(ValueError, match=said) as caught:
            opener(path)
        assert str(path) in str(caught.value)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken < most_megabytes * MEGABYTE


@pytest.mark.parametrize("dictionary", [False, True])
def test_numbers_that_unpack_a_thousandfold_are_refused(tmp_path, dictionary):
    zeros = pa.array(np.zeros(12 * 2**20))
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(zeros, 4)})
    table = table.append_column("label", pa.array(np.zeros(len(table), np.int8)))
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=dictionary)
    del table, zeros
    assert path.stat().st_size < 2**20
    is_refused(path, "'vector' would unpack to .* bytes of a file of")


def test_one_long_text_in_many_rows_is_refused(tmp_path):
    n = 10_000
    labels = pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array(["x" * 10_000]))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(n, np.float32)), 1)
    pq.write_table(pa.table({"vector": vectors, "label": labels}), tmp_path / "a.parquet")
    is_refused(tmp_path / "a.parquet", "'label' has a text of 10,000 characters")


def test_columns_that_fit_alone_do_not_fit_together(tmp_path):
    columns = {f"f{n}": np.zeros(2**18) for n in range(64)}  # 2 MiB each
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": np.zeros(2**18, int), **columns}), path, compression="zstd")
    is_refused(path, "would unpack to .* bytes of a file of")


def test_code_in_the_schema_of_arrow_is_not_run(tmp_path):
    marker = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": b"c",
    }
    of = pa.field("label", pa.int64(), metadata=marker)
    table = pa.table([ROWS, [0, 1]], schema=pa.schema([("vector", pa.list_(pa.float32())), of]))
    pq.write_table(table, tmp_path / "a.parquet")
    assert vmf.read(tmp_path / "a.parquet").ids.tolist() == [0, 1]


@pytest.mark.parametrize("ending", [".parquet", ".safetensors"])
def test_damage_anywhere_is_an_error_that_names_the_file(tmp_path, ending):
    vmf.write(full_file(), tmp_path / f"whole{ending}")
    content = (tmp_path / f"whole{ending}").read_bytes()
    dice, path = random.Random(0), tmp_path / f"a{ending}"
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(dice.choice([1, 1, 2, 5])):
            place = dice.randrange(len(damaged))
            if dice.random() < 0.8:
                damaged[place] = dice.randrange(256)
            else:
                del damaged[place : place + 20]
        path.write_bytes(damaged)
        try:
            vmf.read(path)
            outcomes.add("read")
        except ValueError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("kept", [0, 4, 11, 0.3, 0.7, 0.99, -1])
@pytest.mark.parametrize("ending", [".parquet", ".safetensors"])
def test_a_cut_file_is_refused(tmp_path, ending, kept):
    path = tmp_path / f"a{ending}"
    vmf.write(full_file(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    is_refused(path, "truncated|empty|its header claims|no .safetensors|no Parquet")


def varint(value):
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def page(unpacked, packed, n_values=1, encoding=0):
    """A page header of Thrift, whose fields are 1 (type), 2 and 3 (sizes), 5 (of a page of values:
    1 their number, 2 their encoding), all of 32 bits; then the page."""
    about = b"\x2c\x15" + varint(n_values << 1) + b"\x15" + varint(encoding << 1) + b"\x00"
    return (
        b"\x15\x00\x15" + varint(unpacked << 1) + b"\x15" + varint(packed << 1) + about + b"\x00"
        + bytes(packed)
    )  # fmt: skip


def test_pages_are_counted_by_their_own_headers():
    content = page(1000, 3, 7) + page(2**31 - 1, 200, 2**20)
    found = read_pages(io.BytesIO(b"PAR1" + content), 4, len(content))
    assert found == (1000 + 2**31 - 1, 7 + 2**20)
    with pytest.raises(ThriftError, match="reaches beyond its column"):
        read_pages(io.BytesIO(content), 0, len(content) - 1)
    with pytest.raises(ThriftError, match="expected a number"):
        read_pages(io.BytesIO(b"\x15\x00\x00"), 0, 3)
    with pytest.raises(ThriftError, match="how many values"):
        read_pages(io.BytesIO(b"\x15\x00\x15\x02\x15\x00\x00"), 0, 7)
    with pytest.raises(ThriftError, match="field 2 is"):  # 64 bits, which other readers skip
        read_pages(io.BytesIO(b"\x15\x00\x16\x02\x15\x00\x00"), 0, 7)
    with pytest.raises(ThriftError, match="DELTA_BYTE_ARRAY"):
        read_pages(io.BytesIO(page(1000, 3, encoding=7)), 0, 17)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_whose_size_nothing_states_are_refused(tmp_path, encoding):
    n = 2**14
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(n, np.float32)), 1)
    table = pa.table({"vector": vectors, "label": pa.array(["x" * 2**14] * n)})
    how = {"vector.list.element": "PLAIN", "label": encoding}
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, use_dictionary=False, column_encoding=how)
    del table, vectors
    is_refused(path, f"'label' cannot be read: .*{encoding}")


def renamed_in_footer(path, old, new, which):
    """Replaces a name where it stands for a column (in the schema, then once for each part)."""
    content = bytearray(path.read_bytes())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    places = [match.start() + start for match in re.finditer(old, content[start:])]
    content[places[which] : places[which] + len(old)] = new
    path.write_bytes(content)


@pytest.mark.parametrize("which", [0, 1])
def test_a_column_cannot_be_described_under_another_name(tmp_path, which):
    path = tmp_path / "a.parquet"
    table = pa.table({"vector": pa.array(ROWS, pa.list_(pa.float32(), 2)), "label": [0, 1]})
    pq.write_table(table, path, store_schema=False)
    renamed_in_footer(path, b"vector", b"vectoz", which)
    is_refused(path, "columns are not those of its schema")


def test_numbers_of_values_are_those_of_the_pages(tmp_path):
    path = tmp_path / "a.parquet"
    lists = pa.array([[0.5] * 60] * 2, pa.list_(pa.float32(), 60))
    pq.write_table(pa.table({"vector": lists, "label": [0, 1]}), path, use_dictionary=False)
    content = bytearray(path.read_bytes())
    place = content.find(b"\x2c\x15" + varint(120 << 1))  # in the first page header
    content[place + 2 : place + 4] = varint(8000 << 1)
    path.write_bytes(content)
    is_refused(path, "'vector' is damaged: it claims 120 values, its pages 8000")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1c" * 100, "nested too deeply"),
        (b"\x19" * 100, "nested too deeply|end is missing"),
        (b"\x18" + b"\xff" * 9 + b"\x01", "end is missing"),
        (b"\x15" + b"\xff" * 20, "too many digits"),
        (b"\x1b\x00", "unknown type"),
        (b"\x19\xf5" + b"\xff\xff\xff\xff\x0f" + b"\x00" * 50, "too many values|end is missing"),
        (b"\x15", "end is missing"),
        (b"\x15\x02\x05\x02\x04\x00", "field 1 twice"),
        (b"", "end is missing"),
    ],
)
def test_thrift_that_is_none_is_refused(content, said):
    with pytest.raises(ThriftError, match=said):
        ThriftReader(content, most_values=20).structure()


def safetensors(path, header, data):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def own(**metadata):
    """The header of a file that claims to be of this package."""
    tensors = {"embeddings": entry([4, 3], 0, 48), "ids": entry([4], 48, 64)}
    return {
        "__metadata__": {"vmf_embeddings": "1", **metadata},
        **tensors,
        "temp": entry([], 64, 68),
    }


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"emb": entry([2**40, 4], 0, 64)}, "claims the shape"),
        ({"emb": entry([4, 4], 0, 64), "ids": entry([4, 4], 0, 64)}, "does not begin where"),
        ({"emb": entry([4, 4], 8, 72)}, "does not begin where"),
        ({"emb": entry([4, 8], 0, 128)}, "truncated"),
        ({"emb": entry([2, 4], 0, 32)}, "32 bytes follow the last tensor"),
        ({"emb": entry([-4, -4], 0, 64)}, "no dtype, shape and data_offsets"),
        ({"emb": entry([4.0, 4], 0, 64)}, "no dtype, shape and data_offsets"),
        ({"emb": entry([True, 16], 0, 64)}, "no dtype, shape and data_offsets"),
        ({"emb": [1]}, "no dtype, shape and data_offsets"),
        ({"emb": entry([16], 64, 0)}, "claims the shape"),
        ({"emb": entry([0, 2**61], 0, 0), "y": entry([16], 0, 64)}, "is empty"),
        ({"__metadata__": {"a": 1}}, "must have texts alone"),
        (b'{"emb": {"dtype": "F32"}, "emb": {"dtype": "F32"}}', "has 'emb' twice"),
        (b'{"emb": {"dtype": "F32", "dtype": "F64"}}', "has 'dtype' twice"),
        (b"[" * 10**5, "header"),
        (b"\xff\xfe", "not text"),
        ([1], "JSON object"),
        ({"a\x1b[2J": entry([3], 0, 64)}, r"'a.{1,2}x1b\[2J' claims"),
        (own(texts="[1]"), "JSON object"),
        (own(texts='{"paths": [1]}'), "list of texts"),
        (own(texts='{"paths": ["a"]}'), "paths .* differ in rows"),
        (own(meta='{"geometry": 3}'), "geometry must be"),
    ],
)  # fmt: skip
def test_headers_that_lie_are_refused(tmp_path, header, said):
    data = np.ones(17, np.float32).tobytes()  # of `own`
    is_own = isinstance(header, dict) and "temp" in header
    safetensors(tmp_path / "a.safetensors", header, data if is_own else bytes(64))
    with pytest.raises(ValueError, match=said) as caught:
        read_with_notes(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("[]", "JSON object"),
        ("{", "not JSON"),
        ('{"temperature": "1"}', "temperature is no number"),
        ('{"temperature": NaN}', "temp must be a number above 0"),
        ('{"weights": {"shape": [9, 9], "float32": "AAAA"}}', "class weights are damaged"),
        ('{"weights": 3}', "class weights are damaged"),
        ('{"shapes": {"ids": [7]}}', "has not the shape"),
        ('{"shapes": {"ids": ["a"]}}', "has not the shape"),
    ],
)
def test_what_a_parquet_says_of_itself_is_checked(tmp_path, about, said):
    path = tmp_path / "a.parquet"
    table = pa.table({"vector": ROWS, "ids": [0, 1]})
    pq.write_table(table.replace_schema_metadata({"vmf_embeddings": about}), path)
    with pytest.raises(ValueError, match=said) as caught:
        read_with_notes(path)
    assert str(path) in str(caught.value)
