"""Image files that attack: made here, opened by the tests."""

import os
import struct
import zlib

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
# how files begin that Pillow gives to another program, to what was registered, or to a second file
OTHER_FORMATS = {
    "eps": EPS,
    "eps with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, len(EPS), *[0] * 5) + EPS,
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(2) + struct.pack("<4hH", 0, 0, 99, 99, 96) + bytes(60),
    "grib": b"GRIB" + bytes(3) + b"\x01" + bytes(50),
    "bufr": b"BUFR" + bytes(50),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "fits": b"SIMPLE  =                    T".ljust(80) + bytes(2800),
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "iptc": b"\x1c\x03\x3c\x00\x01\x01\x1c\x08\x0a" + bytes(2) + EPS,
    "ico": b"\x00\x00\x01\x00\x01\x00" + bytes(40),
    "pdf": b"%PDF-1.4\n",
}  # fmt: skip


def _chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(path, width, height, *, between=b"", rows=None):
    """A black PNG of one bit per pixel; `rows` fewer than `height` cut it off."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = height if rows is None else rows
    content = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    body = header + between + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def text_bomb():
    """A chunk of text that unpacks from 64 KB to 64 MB."""
    return _chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**26), 9))


def fake_program(folder, name, marker):
    """A program of this name that leaves a marker; returns a PATH that finds it first."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n: > '{marker}'\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
