"""The arguments of `export`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser, add_run, positive_int

OUTPUTS = (".onnx", ".pt2", ".zip")


@dataclass(frozen=True)
class ExportOptions:
    """What to write of which run.

    Attributes:
        run: folder, checkpoint or bundle.
        out: the file to write; its ending decides.
        predict: whether a graph also gives class probabilities.
        batch: number of inputs that a graph takes at once; None = any.
        force: whether `out` may be replaced.
    """

    run: Path
    out: Path
    predict: bool = False
    batch: int | None = None
    force: bool = False


def parse_export(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings export"
) -> ExportOptions:
    """Reads the arguments of `export RUN -o FILE [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = export_parser(prog)
    values = parser.parse_args(arguments)
    ending = values.out.suffix
    if ending not in OUTPUTS:
        parser.error(f"--out: expected a file {', '.join(OUTPUTS)}, got {ending or 'no ending'}")
    if ending == ".zip" and (values.predict or values.batch):
        parser.error("--predict and --batch are for .onnx and .pt2: a bundle has everything")
    return ExportOptions(**vars(values))


def export_parser(prog: str) -> Parser:
    """The parser of `export`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Writes a trained network for other programs, or the whole run for a "
        "colleague. The outcome is compared with torch on a batch before the file gets its name. "
        "A graph takes images as the run's transform makes them, and gives embeddings; transform, "
        "class names and geometry lie in the file as JSON.",
        epilog=f"example: {prog} runs/mine -o mine.onnx",
    )
    add = parser.add_argument
    add_run(parser)
    add("-o", "--out", type=Path, required=True, metavar="FILE",
        help=".onnx (for onnxruntime), .pt2 (torch.export), or .zip: a bundle of weights, "
        "configuration, transform and class names, for vmf.load and all commands")  # fmt: skip
    add("--predict", action="store_true",
        help="a second output, the probabilities of the training classes")  # fmt: skip
    add("--batch", type=positive_int, metavar="N", help="images that a graph takes at once (any)")
    add("--force", action="store_true", help="replace FILE if it exists")
    return parser
