"""The arguments of `convert`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser
from vmf_embeddings.embeddings.endings import WRITTEN, ends_with


@dataclass(frozen=True)
class ConvertOptions:
    """What to write in which format.

    Attributes:
        source: a file of embeddings, or a folder `.emb`.
        out: what to write; its ending says the format.
        embeddings: name of the embeddings in files of other programs.
        labels: name of the labels there, or their file.
        force: whether `out` may be replaced.
    """

    source: Path
    out: Path
    embeddings: str | None = None
    labels: str | None = None
    force: bool = False


def parse_convert(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings convert"
) -> ConvertOptions:
    """Reads the arguments of `convert FILE -o FILE [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = convert_parser(prog)
    values = parser.parse_args(arguments)
    if not ends_with(values.out, WRITTEN):
        ending = values.out.suffix or "no ending"
        parser.error(f"--out: expected a file {', '.join(WRITTEN)}, got {ending}")
    return ConvertOptions(**vars(values))


def convert_parser(prog: str) -> Parser:
    """The parser of `convert`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Embeddings in another format. Nothing is lost: what the format cannot hold is "
        "refused. Large .npz files and folders .emb are copied piece by piece.",
        epilog=f"example: {prog} sop_test.npz -o sop_test.emb",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="FILE",
        help="a file of embeddings of this or another program, or a folder .emb")  # fmt: skip
    add("-o", "--out", type=Path, required=True, metavar="FILE",
        help=f"what to write: {', '.join(WRITTEN)}")  # fmt: skip
    add("--embeddings", metavar="KEY", help="name of the embeddings in files of other programs")
    add("--labels", metavar="KEY", help="name of the labels there; of an .npy, their file")
    add("--force", action="store_true", help="replace what -o names, if it exists")
    return parser
