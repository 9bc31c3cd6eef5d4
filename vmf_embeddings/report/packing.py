"""Data in an HTML page: arrays as base64, JSON that cannot end its script element."""

import base64
import json
from typing import Any

import numpy as np

# after these, JSON in a script element could end it, begin a comment, or end a line of JavaScript
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def packed(values: np.ndarray, dtype: str) -> str:
    """An array as base64 of little-endian numbers.

    Args:
        values: any shape, row after row.
        dtype: "f4", "i4", "u4", "u2" or "u1".

    >>> packed(np.array([1, 2]), "u2")
    'AQACAA=='
    """
    return base64.b64encode(np.ascontiguousarray(values, f"<{dtype}").tobytes()).decode()


def script_json(content: Any) -> str:
    r"""JSON for the inside of a script element: `<`, `>`, `&` and line separators are escaped.

    >>> print(script_json("</script>"))
    "\u003c/script\u003e"
    """
    return json.dumps(content, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)


def data_url(content: bytes, kind: str) -> str:
    """Bytes as the address of an image, such as "data:image/webp;base64,…"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
