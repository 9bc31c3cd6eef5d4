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


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(path, width, height, *, between=b"", rows=None):
    """A black PNG of one bit per pixel; `rows` fewer than `height` cut it off."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = height if rows is None else rows
    content = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    body = header + between + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def text_bomb():
    """A chunk of text that unpacks from 64 KB to 64 MB."""
    return chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**26), 9))


def fake_program(folder, name, marker):
    """A program of this name that leaves a marker; returns a PATH that finds it first."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n: > '{marker}'\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def icon(kind, content):
    """A Windows icon (ICO) or an icon of macOS (ICNS) of one image."""
    if kind == "ICO":
        entry = struct.pack("<4B2H2I", 0, 0, 0, 0, 1, 32, len(content), 22)
        return b"\0\0\1\0\1\0" + entry + content
    block = b"ic10" + struct.pack(">I", len(content) + 8) + content
    return b"icns" + struct.pack(">I", len(block) + 8) + block


def _segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def _box(kind, content):
    return struct.pack(">I4s", len(content) + 8, kind) + content


def jpeg2000(side, *, tile=None, n_channels=1, block=4, precinct=None, before=b""):
    """A JPEG 2000 without data for its pixels: code-blocks of 2^(block + 2) on a side.

    Args:
        side: of the image in pixels.
        tile: side of a tile; None = one tile.
        n_channels: 1 or 4.
        block: exponent of the sides of code-blocks, less 2.
        precinct: exponent of the sides of precincts; None = as large as they can be.
        before: content of a box between the first ones and the header.
    """
    tile = tile or side
    size = struct.pack(">H8IH", 0, side, side, 0, 0, tile, tile, 0, 0, n_channels)
    style = bytes([precinct is not None, 0, 0, 1, 0, 5, block, block, 0, 1])
    style += b"" if precinct is None else bytes([17 * precinct] * 6)
    stream = b"\xff\x4f" + _segment(0xFF51, size + b"\x07\x01\x01" * n_channels)
    stream += _segment(0xFF52, style) + _segment(0xFF5C, bytes([0x40] * 17))
    stream += _segment(0xFF90, struct.pack(">HIBB", 0, 0, 0, 1)) + b"\xff\x93" + bytes(50)
    header = _box(b"ihdr", struct.pack(">IIH4B", side, side, n_channels, 7, 7, 0, 0))
    header += _box(b"colr", b"\1\0\0" + struct.pack(">I", 17 if n_channels == 1 else 16))
    start = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    start += _box(b"free", before) if before else b""
    return start + _box(b"jp2h", header) + _box(b"jp2c", stream + b"\xff\xd9")


def tiff_of_tiles(side, tile):
    """A black TIFF with one tile of `tile` x `tile` pixels, of which `side` x `side` are seen."""
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(bytes(tile)) for _ in range(tile)) + packer.flush()
    tags = [
        *((256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1)),
        *((322, tile), (323, tile), (324, 8 + 2 + 12 * 10 + 4), (325, len(content))),
    ]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + content
