"""Damaged image files are named before work starts, or decoded; training on the rest goes on."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.images import draw
from tests.reliability.mutations import damaged
from tests.reliability.test_embedding_files import run_in_process
from tests.reliability.trial import TRACES
from vmf_embeddings.datasets.folder import Folder

KINDS = (
    ("png", {}), ("jpg", {"quality": 80}), ("jpg", {"progressive": True}), ("gif", {}), ("bmp", {}),
    ("tiff", {"compression": "tiff_lzw"}), ("tiff", {}), ("webp", {"lossless": True}), ("webp", {}),
    ("ppm", {}),
)  # fmt: skip
MODES = ("RGB", "L", "RGBA", "LA", "P", "I;16", "CMYK", "1")
SETTINGS = {
    **{"image_size": 16, "augment": "none", "mean": [0.5] * 3, "std": [0.5] * 3},
    **{"open_set": False, "valid_share": 0.2, "test_share": 0.2, "margin_warmup_epochs": 0},
}
PER_BLOCK = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of two classes of four images each."""
    folder = tmp_path_factory.mktemp("images")
    for label in range(2):
        for number in range(6):
            draw(folder / f"class_{label}" / f"{number}.png", seed=number, label=label)
    return folder


def damaged_image(folder: Path, rng: random.Random) -> Path:
    """Writes one damaged image of a random format and mode among the others."""
    suffix, options = rng.choice(KINDS)
    path = folder / "class_0" / f"damaged.{suffix}"
    size = rng.choice(((40, 30), (1, 1), (3, 200)))
    image = Image.fromarray(np.random.default_rng(rng.randrange(99)).integers(
        0, 256, (size[1], size[0], 3), dtype=np.uint8))  # fmt: skip
    for mode in (rng.choice(MODES), "RGB"):
        try:
            image.convert("L" if mode == "I;16" else mode).convert(mode).save(path, **options)
            break
        except (OSError, ValueError, KeyError):  # not every format holds every mode
            continue
    path.write_bytes(damaged(path.read_bytes(), rng))
    return path


def fault_of(folder: Path, path: Path) -> str:
    """What is wrong with how `check`, reading, and skipping meet a damaged image."""
    code, output, errors = run_in_process("check", folder, "--json")
    if TRACES.search(errors) or code not in (0, 1):
        return f"check: exit code {code}: {errors}"
    found = json.loads(output)
    named = path.name in str(found)
    decoded = True
    try:
        values = read_all(folder)
    except ValueError as error:
        decoded = False
        if path.name not in str(error):
            return f"not named: {error}"
    if decoded and not (np.isfinite(values).all() and values.std() > 0):
        return "an image became no finite numbers"
    if decoded == bool(found["broken"]):
        return f"check says {found['broken']}, reading says {'fine' if decoded else 'broken'}"
    if code == 1 and not named:
        return f"check does not name it: {output}"
    rest = Folder(dataset_path=folder, on_error="skip", **SETTINGS)
    n_rest = sum(len(rest.split(name)) for name in ("train", "valid", "test"))
    return "" if n_rest == 12 + decoded else f"{n_rest} images are left of 13"


def read_all(folder: Path) -> np.ndarray:
    """Every image of a folder's data set as the network gets it, [N, 3, H, W]."""
    data = Folder(dataset_path=folder, **SETTINGS)
    splits = [data.split(name) for name in ("train", "valid", "test")]
    return np.concatenate(
        [split[i]["examples"][None] for split in splits for i in range(len(split))]
    )


def faults_of_block(home: Path, folder: Path, seed: int, n: int) -> list[str]:
    """What is wrong with how `n` damaged images of a seed are met."""
    faults = []
    for number in range(n):
        below = folder / str(number)
        shutil.copytree(home, below)
        path = damaged_image(below, random.Random(1000 * seed + number))
        before = path.read_bytes()
        try:
            fault = fault_of(below, path)
        except Exception as error:  # whatever comes through is a fault
            fault = f"{type(error).__name__}: {error}"
        if path.read_bytes() != before:
            fault = "the file was changed"
        if fault:
            faults.append(f"{seed}:{number} {path}: {fault}")
    return faults


def test_damaged_images_are_named_or_decoded(home, tmp_path):
    assert faults_of_block(home, tmp_path, 0, 20) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_hundred_damaged_images_are_named_or_decoded(home, tmp_path, seed):
    assert faults_of_block(home, tmp_path, seed, PER_BLOCK) == []
