"""Archives of arrays: what they claim is compared with what is there before memory is taken."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from vmf_embeddings.untrusted.arrays import FLOOR, NUMBERS, TEXTS, read_npz

WANTED = {"a": NUMBERS, "t": TEXTS}


def npy(array, version=(1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version, allow_pickle=True)
    return stream.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    """An npy file with any header."""
    length = len(text) + 1
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.encode() + b"\n" + data


def claims(shape: str, descr: str = "'<f4'", data: bytes = b"\0" * 12) -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", data)


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members:
            target.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.float64(3), np.zeros((0, 4)), np.asfortranarray(np.eye(3)),
     np.array([True, False]), np.arange(3, dtype=">i2")],
)  # fmt: skip
def test_arrays_come_back_as_numpy_reads_them(tmp_path, save, array):
    save(tmp_path / "x.npz", a=array, t=np.array("grün"), unknown=np.array([{}]))
    found = read_npz(tmp_path / "x.npz", WANTED)
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == np.asarray(array).dtype
    assert found.keys() == {"a", "t"}


def test_version_2_of_the_format_is_read(tmp_path):
    archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(3), (2, 0)))])
    assert read_npz(tmp_path / "x.npz", WANTED)["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (claims("(10**12, 512)"), "malformed"),
        (claims("(1000000000000, 512)"), "takes"),
        (claims("(2,)"), "takes"),
        (claims("(4,)"), "takes"),
        (claims("(-3,)"), "shape"),
        (claims("(True, 3)"), "shape"),
        (claims("(99999999999999999999, 0)", data=b"\0"), "takes"),
        (claims("(3,)", "'<U1000000000'"), "dtype"),
        (claims("(3,)", "'|O'"), "Python objects"),
        (claims("(3,)", "[('x', '|O')]"), "Python objects"),
        (claims("(3,)", "('<f4', (1000000000000,))"), "dtype|takes|npy header|dim|descr"),
        (claims("(3,)", "'<c8'"), "dtype"),
        (claims("(3,)", "'M8[s]'"), "dtype"),
        (claims("(3,)", "'|V4'"), "dtype"),
        (claims("(3,)", "'<f4,<f4'"), "dtype"),
        (claims("3"), "shape"),
        (header("(" * 5000), "header"),
        (header("[" * 9000 + "]" * 9000), "Header|header"),
        (header("{'descr': __import__('os').system('touch owned')}"), "malformed"),
        (header("'''"), "header"),
        (header(""), "header"),
        (npy(np.ones(3), (3, 0)), "version 3.0|npy version"),
        (b"\x93NUMPY\x09\x00" + npy(np.ones(3))[8:], "npy version"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "EOF|header"),
        (b"", "EOF|magic"),
        (npy(np.array([{}], dtype=object)), "Python objects"),
    ],
)
def test_a_header_that_claims_something_else_is_refused_by_name(tmp_path, member, words):
    archive(tmp_path / "x.npz", [("a.npy", member)])
    with pytest.raises(ValueError, match=words):
        read_npz(tmp_path / "x.npz", WANTED)


def refused_in_little_memory(path, words):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            read_npz(path, WANTED)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(2 * FLOOR, np.uint8))
    assert (tmp_path / "x.npz").stat().st_size < 2**19
    refused_in_little_memory(tmp_path / "x.npz", "would unpack to")


def test_many_small_bombs_are_one_bomb(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", **dict.fromkeys("abcd", np.zeros(FLOOR // 3, np.uint8)))
    with pytest.raises(ValueError, match="would unpack to"):
        read_npz(tmp_path / "x.npz", dict.fromkeys("abcd", NUMBERS))


def test_what_shrinks_a_lot_but_is_small_is_read(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(FLOOR // 2, np.uint8))
    assert len(read_npz(tmp_path / "x.npz", WANTED)["a"]) == FLOOR // 2


def patched(path, **fields):
    """Change fields of the only entry in the archive's directory, which readers believe."""
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02")
    places = {"flags": (8, 2), "method": (10, 2), "compressed": (20, 4), "size": (24, 4)}
    for name, value in fields.items():
        offset, length = places[name]
        content[start + offset : start + offset + length] = value.to_bytes(length, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"flags": 1}, "encrypted"),
        ({"method": 12}, "compressed by method 12"),
        ({"method": 14}, "compressed by method 14"),
        ({"method": 99}, "compressed by method 99"),
        ({"size": 2**31}, "claims"),
        ({"compressed": 2**31}, "claims"),
        ({"compressed": 2**31, "size": 2**31}, "claims"),
        ({"size": 2**31, "method": 8}, "would unpack to"),
    ],
)
def test_a_directory_that_claims_something_else_is_refused(tmp_path, fields, words):
    archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(3)))])
    patched(tmp_path / "x.npz", **fields)
    refused_in_little_memory(tmp_path / "x.npz", words)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.npy", "a.npy"], "two arrays are called 'a'"),
        (["a.npy", "a"], "two arrays are called 'a'"),
        (["a.npy", "../x.npy"], "name of a file in a folder"),
        (["a.npy", "/etc/x.npy"], "name of a file in a folder"),
        (["a.npy", "b/a.npy"], "name of a file in a folder"),
        ([f"{i}.npy" for i in range(1001)], "1001 arrays"),
    ],
)
def test_names_are_looked_at_before_anything_is_read(tmp_path, names, words):
    archive(tmp_path / "x.npz", [(name, npy(np.ones(3))) for name in names])
    with pytest.raises(ValueError, match=words):
        read_npz(tmp_path / "x.npz", WANTED)


@pytest.mark.parametrize("cut", [3, 40, 80, 150, -1, -30])
def test_a_damaged_archive_is_a_value_error(tmp_path, cut):
    archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(30)))], zipfile.ZIP_DEFLATED)
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:cut])
    with pytest.raises(ValueError, match="zip"):
        read_npz(tmp_path / "x.npz", WANTED)


def test_changed_bytes_are_a_value_error_or_read(tmp_path):
    archive(tmp_path / "x.npz", [("a.npy", npy(np.arange(30.0)))], zipfile.ZIP_DEFLATED)
    content = (tmp_path / "x.npz").read_bytes()
    outcomes = set()
    for place in range(len(content)):
        changed = bytes([*content[:place], content[place] ^ 0xFF, *content[place + 1 :]])
        (tmp_path / "x.npz").write_bytes(changed)
        try:
            outcomes.add(str(read_npz(tmp_path / "x.npz", WANTED).keys()))
        except ValueError:
            outcomes.add("refused")
    assert "refused" in outcomes
