"""Which image formats are read, by which endings, and what a file in no such format seems to be."""

import os
from functools import lru_cache
from pathlib import Path

# Decoded inside Pillow and its libraries from the bytes of this one file; the last ones are told
# by little, so others are tried first. Left out on purpose: EPS starts Ghostscript; WMF, BUFR, GRIB
# and HDF5 call what others register; FPX, MIC and IPTC open a file inside the file; FITS holds
# measurements without a range for display, and unpacks before its size is known; MPEG is no image.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "ICO", "CUR"),
    *("ICNS", "PSD", "DDS", "DIB", "PCX", "DCX", "SGI", "SUN", "QOI", "XBM", "XPM", "MSP", "BLP"),
    *("FTEX", "GBR", "FLI", "PIXAR", "PCD", "XVTHUMB", "MCIDAS", "TGA", "IM", "SPIDER"),
)
_MULTIPLE_OF_JPEG = "MPO"  # which Pillow's reader of JPEG opens
_MORE_ENDINGS = {".jif": "JPEG", ".jfi": "JPEG", ".targa": "TGA"}

_CONVERT = "convert it to PNG or JPEG"
# how files begin that are often found among images, and what to do with them
_OTHERS = (
    ((b"%PDF",), "a PDF document", f"{_CONVERT}, one file per page"),
    ((b"%!PS", b"\xc5\xd0\xd3\xc6"), "an EPS or PostScript drawing", _CONVERT),
    ((b"<svg", b"<?xml"), "an SVG drawing or other XML", f"{_CONVERT} with a drawing program"),
    ((b"<!doctype", b"<!DOCTYPE", b"<html", b"<HTML"), "a web page", "download the image again"),
    ((b"version https://git-lfs",), "a pointer of Git LFS", "run git lfs pull where it came from"),
    ((b"\xff\x0a", b"\0\0\0\x0cJXL "), "a JPEG XL image", _CONVERT),
    ((b"\xd7\xcd\xc6\x9a", b"\x01\0\0\0"), "a Windows metafile", _CONVERT),
    ((b"SIMPLE  =",), "a FITS file of measurements", "scale its values to 8 bits and save as PNG"),
    ((b"\x89HDF",), "an HDF5 file", "save its images one by one as PNG"),
    ((b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"Rar!"), "an archive", "extract it"),
    ((b"\x93NUMPY",), "a NumPy array", "save it as PNG"),
    ((b"\0\0\x01\xba", b"\0\0\x01\xb3"), "a video", "save its frames as images"),
    ((b"II*\0", b"MM\0*"), "a TIFF with pixels that Pillow does not read", "save it with 8 bits"),
    ((b"\xff\xd8\xff",), "a damaged JPEG", "copy or download it again"),
    ((b"\x89PNG",), "a damaged PNG", "copy or download it again"),
    ((b"GIF8",), "a damaged GIF", "copy or download it again"),
    ((b"II\x1a\0\0\0HEAPCCDR", b"FUJIFILMCCD-RAW"), "a raw photograph", _CONVERT),
)
_BRANDS = {  # of files that begin with an `ftyp` box
    b"heic": ("a HEIC photograph", _CONVERT),
    b"heix": ("a HEIC photograph", _CONVERT),
    b"mif1": ("a HEIF photograph", _CONVERT),
    b"msf1": ("a HEIF photograph", _CONVERT),
    b"avif": ("an AVIF image that this Pillow cannot decode", f"{_CONVERT}, or update Pillow"),
    b"avis": ("an AVIF image that this Pillow cannot decode", f"{_CONVERT}, or update Pillow"),
    b"crx ": ("a raw photograph", _CONVERT),
}


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats of `FORMATS` that the installed Pillow opens."""
    from PIL import Image

    Image.init()  # a format that this Pillow lacks must not be asked for
    return tuple(name for name in FORMATS if name in Image.OPEN)


@lru_cache(maxsize=1)
def readable_suffixes() -> tuple[str, ...]:
    """Endings of image files that `read_image` reads, in lower case with the dot, sorted.

    Those that the installed Pillow knows for `FORMATS`, such as ".jpg", ".jfif" and ".avif".
    """
    from PIL import Image

    readable = {*readable_formats(), _MULTIPLE_OF_JPEG}
    known = Image.registered_extensions() | _MORE_ENDINGS
    return tuple(sorted(ending for ending, name in known.items() if name in readable))


def is_picture(path: str | Path) -> bool:
    """Whether a file's name is that of an image: a known ending, and not hidden.

    Names that begin with a dot are left out: `.DS_Store`, and the `._a.jpg` of macOS, which holds
    no image. The file is not opened.

    >>> is_picture("cat/1.JFIF"), is_picture("cat/notes.txt"), is_picture("cat/._1.jpg")
    (True, False, False)
    """
    name = os.path.basename(path)
    return not name.startswith(".") and name.lower().endswith(readable_suffixes())


def not_an_image(start: bytes) -> str:
    """What a file seems to be that is in no readable format, and what to do about it.

    Args:
        start: its first bytes; 32 tell most.
    """
    if not start:
        return "the file is empty; copy or download it again"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginnings, kind, remedy in _OTHERS:
        if text.startswith(beginnings) or start.startswith(beginnings):
            return f"its content is {kind}; {remedy}"
    if start[4:8] == b"ftyp":
        kind, remedy = _BRANDS.get(start[8:12], ("a video", "save its frames as images"))
        return f"its content is {kind}; {remedy}"
    if not start.strip(b"\0"):
        return "it begins with zeros, as after a broken copy; copy or download it again"
    return f"it holds no image in a format that is read here; {_CONVERT}"
