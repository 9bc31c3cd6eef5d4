"""The arguments of `embed`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser, add_embedding, add_run, folder, positive_int
from vmf_embeddings.embeddings.endings import WRITTEN

ROWS_ALONE = (".csv", ".npy")  # which hold no confidence, no prediction, no meta data
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class EmbedOptions:
    """What to embed with what, and where to write it.

    Attributes:
        run: folder, checkpoint or bundle.
        inputs: images, folders, tables with a column of paths, files of features; "-" for paths
            on standard input.
        out: the file to write.
        predict: whether to store the predicted class of each image, and its probability.
        skip_broken: whether images that cannot be read are left out.
        force: whether `out` may be replaced.
        images_from: folder of the images that tables name.
        batch_size: images per step.
        num_workers: threads that read images; None = one per CPU, at most 8.
        device: "auto", "cpu", "cuda", "cuda:1", …
        quiet: whether to print nothing but errors.
    """

    run: Path
    inputs: tuple[str, ...]
    out: Path
    predict: bool = False
    skip_broken: bool = False
    force: bool = False
    images_from: Path | None = None
    batch_size: int = 64
    num_workers: int | None = None
    device: str = "auto"
    quiet: bool = False


def parse_embed(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings embed"
) -> EmbedOptions:
    """Reads the arguments of `embed RUN INPUT… -o FILE [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = embed_parser(prog)
    values = parser.parse_args(arguments)
    if values.out.suffix.lower() not in WRITTEN:
        parser.error(
            f"--out: expected a file {', '.join(WRITTEN)}, got {values.out.suffix or 'no ending'}"
        )
    if values.predict and values.out.suffix.lower() in ROWS_ALONE:
        parser.error(
            f"--predict: a {values.out.suffix} holds embeddings alone; write a .parquet, .npz or "
            ".safetensors"
        )
    return EmbedOptions(**{**vars(values), "inputs": tuple(values.inputs)})


def embed_parser(prog: str) -> Parser:
    """The parser of `embed`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Embeddings of new images, whose labels are unknown, by a trained run. Needs "
        "no training data and changes nothing in the run's folder. Rows have the order of the "
        "input; folders are read in sorted order. The file also holds paths, a confidence, and "
        "with --predict the predicted classes (not .csv and .npy).",
        epilog=f"example: {prog} runs/mine photos -o photos.npz",
    )
    add = parser.add_argument
    add_run(parser)
    add("inputs", nargs="+", metavar="INPUT",
        help="images, folders of images, tables (.csv, .tsv) with a column path, or - for paths on "
        "standard input, one a line; for runs on features, files of features")  # fmt: skip
    add("-o", "--out", type=Path, required=True, metavar="FILE",
        help=f"file to write: {', '.join(WRITTEN)}")  # fmt: skip
    add("--predict", action="store_true",
        help="also the predicted class of each image and its probability")  # fmt: skip
    add("--skip-broken", action="store_true",
        help="leave out images that cannot be read, and name them")  # fmt: skip
    add("--force", action="store_true", help="replace FILE if it exists")
    add("--images-from", type=folder, metavar="FOLDER",
        help="folder of the images that tables name (the table's folder)")  # fmt: skip
    add_embedding(parser)
    add("--num-workers", type=positive_int, metavar="N",
        help="threads that read images ahead (one per CPU, at most 8)")  # fmt: skip
    add("--quiet", action="store_true", help="print errors only")
    return parser
