"""Small photograph-like images for tests: coloured blobs, a hue per class."""

import io

import numpy as np
from PIL import Image


def draw(path, *, seed, label=0, size=(40, 30)):
    rng = np.random.default_rng((seed, label))
    coarse = rng.integers(0, 120, (3, 4, 3)) + np.array(
        [(37 * label) % 130, (71 * label) % 130, 60]
    )
    image = Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def smallest():
    """The bytes of an image of one pixel, for lists whose images nobody looks at."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "GIF")
    return stream.getvalue()
