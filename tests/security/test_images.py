"""Images from others: no other program is started, nothing hangs, no header is believed."""

import ast
import dataclasses
import os
import re
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.run import MAIN, ROOT, refused
from tests.datasets.images import draw
from tests.evaluation.runs import make_file
from tests.security.hostile_images import (
    OTHER_FORMATS,
    fake_program,
    icon,
    png,
    text_bomb,
)
from vmf_embeddings.cli import evaluate as command
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.embeddings import save_embeddings
from vmf_embeddings.library.trained_inputs import ImageBatches
from vmf_embeddings.untrusted.image_formats import FORMATS, readable_formats
from vmf_embeddings.untrusted.images import (
    LARGE_AT_ONCE,
    TooManyPixels,
    decoded_image,
    inside,
    read_image,
)
from vmf_embeddings.untrusted.refused import Refused

MEGABYTE = 1024  # of ru_maxrss


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that appears as soon as Ghostscript is started."""
    path = tmp_path / "marker"
    monkeypatch.setenv("PATH", fake_program(tmp_path / "bin", "gs", path))
    return path


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_formats_that_need_more_than_their_own_bytes_are_refused(tmp_path, marker, kind):
    path = tmp_path / "photo.jpg"
    path.write_bytes(OTHER_FORMATS[kind])
    with pytest.raises(Refused, match=r"cannot decode .*photo\.jpg"):
        read_image(path)
    assert not marker.exists()


def in_format(path, name):
    """A noisy image with a second page where the format has them; in a mode that it can hold."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    mode = {"BLP": "P", "MSP": "1", "XBM": "1"}.get(name, "RGB")
    image = Image.fromarray(noise).convert(mode)
    pages = name in ("GIF", "TIFF", "WEBP", "PNG", "MPO")
    more = {"save_all": True, "append_images": [image.rotate(180)]} if pages else {}
    image.save(path, format=name, **more)
    return path


Image.init()
WRITTEN = [name for name in [*FORMATS, "MPO"] if name in Image.SAVE]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_that_is_read_gives_the_pixels_that_pillow_gives(tmp_path, name):
    ours = read_image(in_format(tmp_path / "image", name))
    with Image.open(tmp_path / "image") as theirs:
        assert ours.format == theirs.format == name
        assert np.array_equal(np.asarray(ours.convert("RGB")), np.asarray(theirs.convert("RGB")))


def test_whatever_pillow_opens_is_read_or_left_out_for_a_known_reason():
    left_out = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "FPX", "MIC", "IPTC", "FITS", "MPEG", "IMT"}
    assert set(Image.OPEN) - left_out - {"MPO"} == set(readable_formats())


@pytest.mark.parametrize("kind", ["ICO", "ICNS"])
def test_an_icon_cannot_hold_a_bomb(tmp_path, kind):
    bomb = png(tmp_path / "bomb.png", 13_300, 13_300).read_bytes()
    content = icon(kind, bomb)
    (tmp_path / "icon").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused, match="13300 x 13300"):
        read_image(tmp_path / "icon")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * MEGABYTE


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Refused, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("target", ["/dev/zero", "/dev", "/proc/self/fd"])
def test_devices_and_folders_behind_a_link_are_refused(tmp_path, target):
    (tmp_path / "image.png").symlink_to(target)
    with pytest.raises(Refused, match="not a regular file"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("size", [(13_300, 13_300), (2**31 - 1, 2**31 - 1), (2**24 + 1, 1)])
def test_a_small_file_cannot_claim_many_pixels(tmp_path, size):
    path = png(tmp_path / "bomb.png", *size, rows=10 if max(size) < 2**20 else 0)
    with pytest.raises(Refused, match=r"cannot decode .*bomb\.png"):
        read_image(path)


def test_refusing_a_bomb_takes_no_memory(tmp_path):
    path = png(tmp_path / "bomb.png", 13_300, 13_300)
    assert path.stat().st_size < 25_000
    script = (
        "import resource, sys\n"
        "from PIL import Image\n"
        "from vmf_embeddings.untrusted.images import read_image\n"
        "Image.init(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_image(sys.argv[1])\n"
        "except ValueError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 30 * MEGABYTE


def test_an_honest_image_of_one_colour_is_not_taken_for_a_bomb(tmp_path):
    path = png(tmp_path / "blank.png", 4096, 4096)
    assert read_image(path).size == (4096, 4096)


def test_the_limit_of_pixels_is_the_callers(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    with pytest.raises(Refused, match="20 x 10 pixels, more than 199"):
        read_image(tmp_path / "a.png", most_pixels=199)
    assert read_image(tmp_path / "a.png", most_pixels=200).size == (20, 10)


def test_a_caller_who_vouches_for_files_has_large_ones_decoded(tmp_path):
    path = png(tmp_path / "scan.png", 13_400, 13_400)  # more than Pillow decodes by itself
    with pytest.raises(TooManyPixels, match="more than 178956970") as refusal:
        read_image(path)
    before = Image.MAX_IMAGE_PIXELS
    assert read_image(path, most_pixels=refusal.value.n_pixels).size == (13_400, 13_400)
    assert before == Image.MAX_IMAGE_PIXELS


def test_two_large_images_are_decoded_at_a_time(tmp_path):
    path = png(tmp_path / "blank.png", 4096, 4097)
    held, most, lock = [0], [0], threading.Lock()
    pair = threading.Barrier(LARGE_AT_ONCE)

    def hold(_):
        with decoded_image(path, most_pixels=2**25):
            with lock:
                held[0] += 1
                most[0] = max(most[0], held[0])
            pair.wait(20)  # breaks unless as many are held at the same time
            with lock:
                held[0] -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hold, range(6)))
    assert most[0] == LARGE_AT_ONCE


def test_a_bomb_of_text_is_refused(tmp_path):
    path = png(tmp_path / "text.png", 8, 8, between=text_bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused, match="Decompressed data too large"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * MEGABYTE


def test_a_sparse_file_is_not_read(tmp_path):
    path = tmp_path / "sparse.webp"
    path.write_bytes(b"RIFF\x00\x00\x00\x00WEBPVP8X")
    os.truncate(path, 2**40)
    with pytest.raises(Refused, match=f"{2**40} bytes"):
        read_image(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "AVIF"])
def test_truncated_images_are_refused(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut", format=name)
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(Refused, match="cannot decode"):
        read_image(tmp_path / "cut")


def test_images_are_opened_in_one_place():
    """Everything else asks `untrusted.images`; what is made in memory needs no opening."""
    found = []
    for folder in ("vmf_embeddings", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                    "Image.open", "PIL.Image.open", "plt.imread", "mpimg.imread",
                ):  # fmt: skip
                    found.append(path.relative_to(ROOT))
    assert found == [Path("vmf_embeddings/untrusted/images.py")]


# --- through the commands -----------------------------------------------------------------------


def table(folder):
    """Twelve images of two classes and their table; returns an image of the training split."""
    lines = ["label,path,split"]
    for name in "ab":
        for i in range(6):
            split = "train" if i < 4 else "valid" if i < 5 else "test"
            draw(folder / "img" / f"{name}{i}.png", seed=i, label=ord(name))
            lines.append(f"{name},img/{name}{i}.png,{split}")
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "img" / "a0.png"


@pytest.mark.parametrize("kind", ["eps", "bomb", "pipe"])
def test_training_on_a_hostile_image_ends_with_code_2(tmp_path, marker, kind):
    victim = table(tmp_path)
    victim.unlink()
    if kind == "pipe":
        os.mkfifo(victim)
    elif kind == "bomb":
        png(victim, 13_300, 13_300)
    else:
        victim.write_bytes(OTHER_FORMATS["eps"])
    complaint = refused(
        MAIN, "dataset=csv", "dataset.params.dataset_path=t.csv", "dataset.params.image_size=32",
        "arch=resnet32", "mode.epochs=1", "sampler=random", "name=x", cwd=tmp_path,
    )  # fmt: skip
    assert "a0.png" in complaint
    assert not marker.exists()


N_ROWS = 40  # at least as many as the file has: rows of one path are not compared


def embedding_file(folder, paths, name="toy_test.npz"):
    folder.mkdir(exist_ok=True)
    file = make_file({"name": "cosine"}, open_set=True)
    paths = (paths * len(file.ids))[: len(file.ids)]
    save_embeddings(folder / name, dataclasses.replace(file, examples=None, paths=paths))
    return folder


@pytest.fixture
def evaluate(capsys):
    """Runs the command in this process; returns what it prints."""

    def run(folder, *arguments):
        assert command.evaluate(parse_evaluate([str(folder), *arguments])) == 0
        printed = capsys.readouterr()
        return " ".join((printed.out + printed.err).split())

    return run


@pytest.fixture
def received(tmp_path, monkeypatch):
    """The current folder is `here`, beside a private image that a received file wants to show."""
    draw(tmp_path / "private" / "secret.png", seed=0)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("way", ["absolute", "dots", "link"])
def test_a_received_file_cannot_have_any_image_drawn(received, evaluate, way):
    secret = received / "private" / "secret.png"
    run = received / "here" / "run"
    names = {"absolute": f"{secret.parent}/", "dots": "run/../../private/", "link": "run/"}
    embedding_file(run, [f"{names[way]}{row}.png" for row in range(N_ROWS)])
    if way == "link":
        for row in range(N_ROWS):
            (run / f"{row}.png").symlink_to(secret)
    printed = evaluate(run)
    assert "outside its own folder and the working directory" in printed
    assert f"--images-from {secret.parent}" in printed
    assert not (run / "neighbours.png").exists()


def test_the_folder_to_type_holds_all_classes(received, evaluate):
    folder = received / "private"
    names = [str(folder / "pictures" / f"class {row % 3}" / f"{row}.png") for row in range(N_ROWS)]
    printed = evaluate(embedding_file(received / "here" / "run", names))
    assert f"such as --images-from {folder / 'pictures'}" in printed
    names[0] = "/etc/passwd"  # not to be taken for an image of the same set
    printed = evaluate(embedding_file(received / "here" / "wide", names))
    assert re.search(r"such as --images-from ('\S+/class \d'|/etc)", printed)


def test_images_are_drawn_where_an_option_says_so(received, evaluate):
    secret = received / "private" / "secret.png"
    run = embedding_file(received / "here" / "run", [str(secret), "secret.png"])
    evaluate(run, "--images-from", str(secret.parent))
    assert (run / "neighbours.png").exists()


def test_images_beside_the_file_and_below_the_current_folder_are_drawn(received, evaluate):
    run = received / "private" / "run"
    embedding_file(run, [str(draw(run / "a.png", seed=1)), "data/b.png"])
    draw(received / "here" / "data" / "b.png", seed=2)
    evaluate(run)
    assert (run / "neighbours.png").exists()


def test_the_folder_of_the_option_must_be_there(capsys):
    with pytest.raises(SystemExit) as end:
        parse_evaluate(["run", "--images-from", "nowhere"])
    assert end.value.code == 2
    assert "needs a folder, got 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["eps", "bomb", "pipe"])
def test_hostile_images_of_a_received_file_are_named_not_drawn(received, evaluate, marker, kind):
    run = received / "run"
    paths = [run / f"{row}x.jpg" for row in range(N_ROWS)]
    embedding_file(run, list(map(str, paths)))
    for path in paths:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "bomb":
            png(path, 13_300, 13_300, rows=10)
        else:
            path.write_bytes(OTHER_FORMATS["eps"])
    printed = evaluate(run)
    assert "No figure of neighbours" in printed
    assert "x.jpg" in printed
    assert not (run / "neighbours.png").exists()
    assert not marker.exists()


def test_what_no_path_can_be_lies_nowhere(tmp_path):
    with pytest.raises(Refused, match="is no path"):
        inside("a\x00b.png", [tmp_path])


def test_a_received_transform_cannot_fill_memory_with_a_batch():
    large = ImageTransform(size=(4096, 4096))
    batches = ImageBatches([Image.new("RGB", (2, 2))] * 64, large, 64)
    with pytest.raises(Refused, match="give batch_size=5"):
        next(iter(batches))
    single = ImageBatches([Image.new("RGB", (2, 2))], large, 64)
    assert next(iter(single)).shape == (1, 3, 4096, 4096)
