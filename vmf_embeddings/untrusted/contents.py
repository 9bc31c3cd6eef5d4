"""Says what a file really holds where its name promises something else or its end is missing."""

_KINDS = (
    (b"\x93NUMPY", "one NumPy array (.npy)"),
    (b"PK\x03\x04", "a zip archive, as .npz and checkpoints are"),
    (b"\x1f\x8b", "compressed by gzip; unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it with unzstd"),
    (b"\xfd7zXZ", "compressed by xz; unpack it with unxz"),
    (b"BZh", "compressed by bzip2; unpack it with bunzip2"),
    (b"\x89HDF", "HDF5"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"\x80", "a Python pickle, which could run code and is not read"),
    (b"version https://git-lfs", "a pointer of Git LFS to the file; get it with: git lfs pull"),
    (b"<!DOCTYPE", "a web page, perhaps the error of a download"),
    (b"<html", "a web page, perhaps the error of a download"),
)
LONGEST_HEAD = 32  # bytes of a file that `kind_of` looks at
_COPY_AGAIN = "copy or write the file again"


def kind_of(head: bytes) -> str | None:
    r"""What a file holds by its first `LONGEST_HEAD` bytes, in words; None if unknown.

    >>> kind_of(b"PAR1\x15")
    'Parquet'
    """
    return next((words for magic, words in _KINDS if head.startswith(magic)), None)


def why_no_archive(head: bytes, size: int) -> str:
    """Why a file of `size` bytes that begins with `head` is no zip archive."""
    if not size:
        return f"the file is empty (0 bytes), no zip archive: {_COPY_AGAIN}"
    if head.startswith(b"PK\x03\x04"):
        return (
            f"the file is truncated: it begins as a zip archive, and after {size:,} bytes the "
            f"archive's end is missing: {_COPY_AGAIN}"
        )
    kind = kind_of(head)
    return "the file is no zip archive" + (f", its content is {kind}" if kind else "")


def why_no_array(head: bytes, size: int) -> str:
    """Why a file of `size` bytes that begins with `head` is no `.npy`."""
    if not size:
        return f"the file is empty (0 bytes): {_COPY_AGAIN}"
    if len(head) < len(b"\x93NUMPY\x01\x00"):
        return f"the file is truncated: {size} bytes are no array: {_COPY_AGAIN}"
    kind = kind_of(head)
    return f"its content is {kind}" if kind else "it does not begin as a NumPy array"


def truncated(what: str, expected: int, size: int) -> str:
    """The message for a file of `size` bytes of which `what` needs `expected`."""
    return (
        f"the file is truncated: {what} takes {expected:,} bytes, the file has {size:,}: "
        f"{_COPY_AGAIN}"
    )


def header_cut(size: int) -> str:
    """The message for a file of `size` bytes that ends before its header does."""
    return f"the file is truncated: after {size:,} bytes its header is cut off: {_COPY_AGAIN}"
