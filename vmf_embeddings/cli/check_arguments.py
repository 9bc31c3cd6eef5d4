"""The arguments of `check`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser, choice


@dataclass(frozen=True)
class CheckOptions:
    """What to look at, and how.

    Attributes:
        path: a folder, a table, a list, or a file of embeddings.
        layout: see `datasets.folder.Folder`.
        open_set: True or False; None = as the data say.
        json: whether to print JSON instead of text.
    """

    path: Path
    layout: str = "auto"
    open_set: bool | None = None
    json: bool = False


def parse_check(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings check"
) -> CheckOptions:
    """Reads the arguments of `check DATA [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    values = vars(check_parser(prog).parse_args(arguments))
    values["open_set"] = {"auto": None, "true": True, "false": False}[values["open_set"]]
    return CheckOptions(**values)


def check_parser(prog: str) -> Parser:
    """The parser of `check`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Looks at data before anyone trains on them: images per split and class, files "
        "passed over, broken and empty images, one image in two splits or under two labels (by "
        "path and by content), and the command to train. Decodes every image. Exit code 0: fine, "
        "1: something to mend, 2: DATA is nothing that can be checked.",
        epilog=f"example: {prog} photos",
    )
    add = parser.add_argument
    add("path", type=Path, metavar="DATA",
        help="a folder of images, a table (.csv, .tsv) with columns label, path, split, a folder "
        "with train.txt and test.txt, a file of embeddings or feature vectors (.npz, .npy, .csv, "
        ".parquet, .safetensors), or a folder with train.npz, valid.npz, test.npz")  # fmt: skip
    add("--layout", type=choice(("auto", "classes")), default="auto", metavar="NAME",
        help="auto: folders named train, val, Test, … are splits; classes: all folders are "
        "classes (auto)")  # fmt: skip
    add(
        "--open-set",
        type=choice(("auto", "true", "false")),
        default="auto",
        metavar="WORD",
        help="true: retrieval over new classes; false: classification (auto: by the data)",
    )
    add("--json", action="store_true", help="print one JSON object instead of text")
    return parser
