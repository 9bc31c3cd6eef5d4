"""One HTML page of queries and what a search found: its images lie in it, no network is needed."""

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np

from vmf_embeddings.evaluation.figures.hits import SheetRow, Tile
from vmf_embeddings.untrusted.text import printable

# nothing is loaded and no script runs, whatever a name in the page may be taken for
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #22262b; background: #fff }
h1 { font-size: 1.2rem } p { color: #7b838c; margin: .2rem 0 1.2rem }
ol { display: flex; gap: .6rem; overflow-x: auto; list-style: none; margin: 0; padding: .8rem 0 }
section { border-top: 1px solid #e6e9ec }
figure { margin: 0; width: 128px; flex: none }
img, .none { width: 128px; height: 128px; object-fit: contain; border: 1px solid #e6e9ec }
.none { display: grid; place-items: center; color: #7b838c; font-size: 12px }
.none { box-sizing: border-box }
.query img, .query .none { border: 3px solid #3f90da; box-sizing: border-box }
figcaption { font-size: 12px; overflow-wrap: anywhere }
.number { font-variant-numeric: tabular-nums } .name { color: #7b838c }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ec; background: #16191d } section, img, .none { border-color: #3a4149 }
}
"""


def page(rows: Iterable[SheetRow], title: str, below: str) -> str:
    """The page; every text in it is escaped.

    Args:
        rows: queries and their neighbours.
        title: of the page.
        below: a line under it.
    """
    sections = "\n".join(map(_section, rows))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_text(title)}</h1>\n<p>{_text(below)}</p>\n{sections}\n</body>\n</html>\n"
    )


def _section(row: SheetRow) -> str:
    tiles = "".join(f"<li>{_figure(tile, n)}</li>" for n, tile in enumerate(row.neighbours, 1))
    return f'<section><ol><li class="query">{_figure(row.query, 0)}</li>{tiles}</ol></section>'


def _figure(tile: Tile, rank: int) -> str:
    similarity = "query" if tile.similarity is None else f"{rank}: {tile.similarity:z.4f}"
    lines = [f'<span class="number">{similarity}</span>']
    lines += [f"<b>{_text(tile.label)}</b>"] if tile.label else []
    lines += [f'<span class="name">{_path(tile.name)}</span>'] if tile.name else []
    return f"<figure>{_image(tile)}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _image(tile: Tile) -> str:
    if tile.image is None:
        return '<div class="none">not shown</div>'
    return f'<img alt="{_text(tile.name)}" src="data:image/png;base64,{_png(tile.image)}">'


def _png(image: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _path(text: str) -> str:
    """A path as HTML, where a line may break after each of its folders."""
    return _text(text).replace("/", "/<wbr>")


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
