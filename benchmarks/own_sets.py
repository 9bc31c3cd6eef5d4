"""Small sets of real pictures, as folders of PNG files, from what a Debian system can install.

python -m benchmarks.own_sets --out FOLDER

glyphs: 62 characters in 40 fonts; letters3: 374 characters in 3 fonts each; fonts: 40 fonts of 62
characters; icons3: names of icons in 3 themes each; fashion: Fashion-MNIST; digits: scikit-learn's.
Packages: fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-open-sans fonts-roboto-unhinted
fonts-lato fonts-comfortaa fonts-cantarell fonts-linuxlibertine fonts-crosextra-carlito
fonts-crosextra-caladea fonts-junicode fonts-comic-neue; gnome-, tango-, oxygen-, faenza- and
elementary-xfce-icon-theme; dataset-fashion-mnist.
"""

import argparse
import gzip
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vmf_embeddings.untrusted.images import opened, read_image

ALPHANUMERIC = [chr(c) for start, end in ((48, 58), (65, 91), (97, 123)) for c in range(start, end)]
MORE = [chr(c) for start, end in ((0xC0, 0x180), (0x391, 0x3CA), (0x410, 0x450))
        for c in range(start, end) if c != 0x3A2]  # fmt: skip
FAMILIES = ("DejaVu", "Liberation", "Free", "OpenSans", "Lato", "Roboto", "Comfortaa", "Cantarell",
            "Lin", "Carlito", "Caladea", "Junicode", "Comic")  # fmt: skip
THEMES = ("oxygen", "Faenza", "gnome", "Tango", "elementary-xfce")
CLOTHES = "tshirt trouser pullover dress coat sandal shirt sneaker bag boot".split()  # noqa: SIM905
SIDE, N_FONTS = 64, 40


def fonts(folder: Path) -> list[Path]:
    """Installed fonts of Latin families, in the order of their names."""
    found = sorted(folder.rglob("*.?tf"), key=lambda path: path.stem)
    return [path for path in found if path.stem.startswith(FAMILIES)]


def glyph(path: Path, character: str) -> Image.Image | None:
    """A character in black on white, 64 pixels wide and high; None where the font lacks it."""
    font = ImageFont.truetype(str(path), 44)
    mask = font.getmask(character)
    if mask.getbbox() is None or bytes(mask) == bytes(font.getmask("\ufffe")):
        return None
    image = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font)
    draw.text(
        ((SIDE - right + left) / 2 - left, (SIDE - bottom + top) / 2 - top), character, 0, font
    )
    return image


def save_glyphs(
    out: Path, characters: Iterable[str], all_fonts: list[Path], per_class: int
) -> None:
    """One class per character, in different fonts that draw it differently."""
    order = random.Random(0)
    for character in characters:
        shuffled, seen = all_fonts.copy(), {}
        order.shuffle(shuffled)
        for path in shuffled:
            image = glyph(path, character)
            if image is not None:
                seen.setdefault(image.tobytes(), (path.stem, image))
            if len(seen) == per_class:
                break
        if len(seen) == per_class:
            save_class(out / f"U{ord(character):04X}", seen.values())


def save_fonts(out: Path, all_fonts: list[Path]) -> None:
    """One class per font, and its characters."""
    for path in random.Random(1).sample(all_fonts, N_FONTS):
        drawn = ((f"U{ord(c):04X}", glyph(path, c)) for c in ALPHANUMERIC)
        save_class(out / path.stem, ((name, image) for name, image in drawn if image is not None))


def save_icons(out: Path, folder: Path) -> None:
    """One class per name of an icon that three themes draw differently."""
    tables = {theme: icons_of(folder / theme) for theme in THEMES}
    for name in sorted(set().union(*tables.values())):
        seen = {}
        for theme in THEMES:
            path = tables[theme].get(name)
            if path is not None:
                image = read_image(path).convert("RGBA")
                seen.setdefault(image.resize((32, 32)).tobytes(), (theme, image))
        if len(seen) >= 3:
            save_class(out / name, list(seen.values())[:3])


def icons_of(theme: Path) -> dict[str, Path]:
    """Name -> the square PNG file of at least 32 pixels whose size is nearest to 48."""
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted(theme.rglob("*.png")):
        with opened(path) as image:
            width, height = image.size
        if width == height >= 32:
            found[path.stem] = min(found.get(path.stem, (10**9, path)), (abs(width - 48), path))
    return {name: path for name, (_, path) in found.items()}


def save_class(folder: Path, images: Iterable[tuple[str, Image.Image]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images:
        image.save(folder / f"{name}.png")


def save_arrays(out: Path, images: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """One class per label."""
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        save_class(out / names[label], [(f"{i:05d}", Image.fromarray(image))])


def idx(path: Path) -> np.ndarray:
    """The array in a compressed file of MNIST's format."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def main() -> int:
    """Writes all sets below --out; one that is there is left as it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--icons", type=Path, default=Path("/usr/share/icons"))
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--n-fashion", type=int, default=4000)
    asked = parser.parse_args()
    from sklearn.datasets import load_digits

    installed = fonts(asked.fonts)
    digits = load_digits()
    clothes = [idx(asked.fashion / f"train-{part}-ubyte.gz")[: asked.n_fashion]
               for part in ("images-idx3", "labels-idx1")]  # fmt: skip
    sets = {
        "glyphs": lambda out: save_glyphs(out, ALPHANUMERIC, installed, N_FONTS),
        "letters3": lambda out: save_glyphs(out, ALPHANUMERIC + MORE, installed, 3),
        "fonts": lambda out: save_fonts(out, installed),
        "icons3": lambda out: save_icons(out, asked.icons),
        "fashion": lambda out: save_arrays(out, *clothes, CLOTHES),
        "digits": lambda out: save_arrays(
            out, (digits.images * 15.9375).astype(np.uint8), digits.target, list("0123456789")
        ),
    }
    for name, save in sets.items():
        if not (asked.out / name).exists():
            save(asked.out / name)
        n_images = sum(1 for _ in (asked.out / name).rglob("*.png"))
        print(f"{name}: {n_images} pictures of {len(list((asked.out / name).iterdir()))} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
