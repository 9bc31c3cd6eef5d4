"""The command lines of `evaluate` and of the two doors of 2021; nothing heavy is imported here."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from vmf_embeddings.evaluation.options import GEOMETRIES, METRICS, EvaluationOptions

GEOMETRY_OF_2021 = {"l2": "cosine", "hyperbolic": "poincare", "none": "euclidean"}
# scores that one may look for -> the word that brings them
_FOUND_IN = {
    "f1": "nmi", "rho": "spectrum", "intra": "spread", "inter": "spread", "pi": "spread",
    "kappa": "spread", "concentration": "spread", "uniformity": "spread", "alignment": "spread",
}  # fmt: skip
_SEARCHES = ("auto", "torch", "faiss")


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the nearest known option and also reads `option=value`."""

    def options(self) -> list[str]:
        """Long options without their dashes."""
        return [name[2:] for name in self._option_string_actions if name.startswith("--")]

    def parse_args(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse, and on unknown options exit with code 2 and a suggestion."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        values, unknown = self.parse_known_args(self._with_dashes(given))
        if unknown:
            self.error(f"unknown argument {unknown[0]}{self._suggestion(unknown[0])}")
        return values

    def error(self, message: str) -> NoReturn:
        """Usage and message on stderr, exit code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog.split()[-1]}: {message}\nSee --help.\n")

    def _with_dashes(self, arguments: list[str]) -> list[str]:
        """Turn `search=faiss` into `--search=faiss`; an existing path of that name stays a path."""
        spelled = []
        for argument in arguments:
            name = re.match(r"([a-z_]+)=", argument)
            if name and not Path(argument).exists():
                option = name[1].replace("_", "-")
                argument = f"--{option}{argument[name.end(1) :]}"
                if option not in self.options():
                    self.error(f"unknown argument {name[1]}={self._suggestion(name[1])}")
            spelled.append(argument)
        return spelled

    def _suggestion(self, argument: str) -> str:
        name = argument.lstrip("-").split("=")[0]
        near = difflib.get_close_matches(name, self.options(), n=1, cutoff=0.5)
        return f"; did you mean --{near[0]}?" if near else ""


def choice(known: Sequence[str]) -> Callable[[str], str]:
    """An argparse type that accepts the known words and suggests the nearest one."""

    def read(word: str) -> str:
        if word in known:
            return word
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"{word!r} is unknown, known: {' '.join(known)}{hint}")

    return read


def _positive_int(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number of 1 or more, got {word!r}")
    return int(word)


def _positive_ints(word: str) -> list[int]:
    """One number, or several with commas between them."""
    return [_positive_int(part) for part in word.split(",")]


def _metrics(word: str) -> list[str]:
    """Names from `nmi`, `nmi,map`, `[nmi,map]` or `all`; a score by its own name is told where."""
    names = [name.strip() for name in word.strip("[]").split(",") if name.strip()]
    if not word:
        raise argparse.ArgumentTypeError(
            f"needs some of {' '.join(METRICS)}, or all; without --metrics come the usual scores"
        )
    known = choice((*METRICS, "all"))
    for name in names:
        if name in _FOUND_IN:
            raise argparse.ArgumentTypeError(f"{name!r} comes with {_FOUND_IN[name]}: type that")
    return [name for given in names for name in (METRICS if known(given) == "all" else [given])]


def _positive_float(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"needs a number above 0, got {word!r}")
    return value


def _folder(word: str) -> Path:
    if not Path(word).is_dir():
        raise argparse.ArgumentTypeError(f"needs a folder, got {word!r}")
    return Path(word)


def _add_common(parser: Parser) -> None:
    add = parser.add_argument
    add("--metrics", nargs="+", type=_metrics, metavar="NAME", default=[],
        help=f"scores of metric learning beside the usual ones: {' '.join(METRICS)}, or all; "
        "also as metrics=[nmi,map] (docs/metrics.md)")  # fmt: skip
    add("--nmi-all-rows", action="store_true",
        help="NMI and F1 over all rows, also where rows x classes pass 150 million")  # fmt: skip
    add("--recall", nargs="+", type=_positive_ints, metavar="K", help="which Recall@K (1 2 4 8)")
    add("--search", type=choice(_SEARCHES), default="auto", metavar="NAME",
        help="finds pictures' neighbours: auto, torch or faiss; same answer (auto)")  # fmt: skip
    add("--split", type=choice(("test", "valid", "train")), default="test", metavar="NAME",
        help="which files to score in folders: test, valid or train (test)")  # fmt: skip
    add("--curvature", type=_positive_float, metavar="C",
        help="c of the Poincare ball, for files of 2021")  # fmt: skip
    add("--samples", type=_positive_int, default=10, metavar="S",
        help="draws per item for the sampled vMF scores (10)")  # fmt: skip
    add("--seed", type=int, default=1234, metavar="N", help="seed of those draws (1234)")
    add("--pictures", action=argparse.BooleanOptionalAction, default=True,
        help="draw, or scores only; neighbours need the pictures at hand (draw)")  # fmt: skip
    add("--images-from", type=_folder, metavar="FOLDER",
        help="also draw images that lie here: the data set's folder (beside the file)")  # fmt: skip
    add("--json", type=Path, metavar="PATH", help="write all results to this file too")
    add("--many-above", type=_positive_int, default=100, metavar="N",
        help="long tails: many-shot classes have more training pictures (100)")  # fmt: skip
    add("--few-below", type=_positive_int, default=20, metavar="N",
        help="long tails: few-shot classes have fewer training pictures (20)")  # fmt: skip
    add("--few-max-inclusive", action="store_true",
        help="long tails: count classes with exactly --few-below as few-shot")  # fmt: skip
    add("--apart", action="store_true",
        help="score runs on different training or test pictures one by one")  # fmt: skip


def parse_evaluate(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Read `python -m vmf_embeddings.evaluate PATH… [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.evaluate",
        allow_abbrev=False,
        description="Score embedding files: accuracy, calibration, retrieval; means over "
        "replications; pictures and metrics.json beside each file.",
        epilog="example: python -m vmf_embeddings.evaluate "
        "vmf_embeddings/runs/mnist/vmf_softmax/3dim/mnist_vmf_softmax",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH",
                        help="a run folder, a folder of runs, or an .npz")  # fmt: skip
    _add_common(parser)
    parser.add_argument("--geometry", type=choice(GEOMETRIES), metavar="NAME",
                        help=f"for files of 2021: {' '.join(GEOMETRIES)}; poincare-reference is "
                        "2021's saturating distance, for newer hyperbolic files too")  # fmt: skip
    return _options(parser, parser.parse_args(arguments))


def parse_vmf_door(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Read `…compute_vmf_performance_metrics RUN [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.third_party.pytorch_metric_learning."
        "compute_vmf_performance_metrics",
        allow_abbrev=False,
        description="Score the embeddings of vMF runs, marginalised over draws.",
    )
    parser.add_argument("paths", nargs=1, type=Path, metavar="RUN",
                        help="a run folder, or a folder of runs: its replications")  # fmt: skip
    _add_common(parser)
    values = parser.parse_args(arguments)
    return _options(parser, values, geometry="vmf", only="vmf")


def parse_deterministic_door(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Read `…compute_deterministic_performance_metrics RUN [l2|hyperbolic|none] [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.third_party.pytorch_metric_learning."
        "compute_deterministic_performance_metrics",
        allow_abbrev=False,
        description="Score the embeddings of runs that are not vMF.",
    )
    parser.add_argument("paths", nargs=1, type=Path, metavar="RUN",
                        help="a run folder, or a folder of runs: its replications")  # fmt: skip
    parser.add_argument("norm", nargs="?", type=choice(tuple(GEOMETRY_OF_2021)), metavar="NORM",
                        help="how embeddings compare: l2 (cosine), hyperbolic, none (Euclidean); "
                        "files of this version know it themselves")  # fmt: skip
    _add_common(parser)
    values = parser.parse_args(arguments)
    geometry = GEOMETRY_OF_2021.get(values.norm)
    del values.norm
    return _options(parser, values, geometry=geometry, only="deterministic")


def _options(parser: Parser, values: argparse.Namespace, **fixed: str | None) -> EvaluationOptions:
    fields = {**vars(values), **fixed}
    if values.few_below + values.few_max_inclusive > values.many_above + 1:
        parser.error(
            f"classes cannot be few-shot and many-shot at once: --few-below {values.few_below} "
            f"reaches beyond --many-above {values.many_above}"
        )
    fields["paths"] = tuple(fields["paths"])
    asked = {name for names in fields["metrics"] for name in names}
    fields["metrics"] = tuple(name for name in METRICS if name in asked)
    if fields["recall"]:
        fields["recall"] = tuple(sorted({k for ks in fields["recall"] for k in ks}))
    return EvaluationOptions(**fields)
