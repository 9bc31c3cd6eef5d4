"""Tables of embeddings from others: time and memory are in proportion to the file."""

import gzip
import resource
import time

import pytest

from vmf_embeddings.embeddings.foreign import read
from vmf_embeddings.embeddings.table import labels_in_table

MEGABYTE = 1024  # of ru_maxrss
HEADER = b"label,f0,f1\n"


def long_table(path, n):
    path.write_text("label,f0,f1\n" + "a,0.5,1\nb,2,3\n" * (n // 2))
    return path


def wide_table(path, n):
    names = ",".join(f"f{i}" for i in range(n))
    path.write_text(f"label,{names}\na{',1' * n}\nb{',2' * n}\n")
    return path


def labels(path):
    return labels_in_table(path, ["label"])


@pytest.mark.parametrize(
    ("table", "reader"), [(long_table, read), (wide_table, read), (long_table, labels)]
)
def test_reading_takes_time_in_proportion_to_the_table(tmp_path, table, reader):
    path = table(tmp_path / "a.csv", 80_000)  # 0.2 s; over 10 s if each row looks at all of it
    start = time.process_time()
    reader(path)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("unpacked", [HEADER + b"," * 2**26 + b"\n", HEADER + b"\n" * 2**26])
def test_a_packed_table_cannot_unpack_without_end(tmp_path, unpacked):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(unpacked, 6))
    del unpacked
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"a\.csv\.gz: .* bytes unpack to more than 67108864"):
        read(tmp_path / "a.csv.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 130 * MEGABYTE


def test_a_line_cannot_have_millions_of_cells(tmp_path):
    (tmp_path / "a.csv").write_bytes(HEADER + b"," * 2**23)
    with pytest.raises(ValueError, match="line 2 has 8388609 cells"):
        read(tmp_path / "a.csv")
