"""The command `report`: reads runs and files, writes one HTML file."""

from collections.abc import Mapping
from pathlib import Path

from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.report.build import report as build
from vmf_embeddings.report.maps import check_map
from vmf_embeddings.report.options import ReportOptions
from vmf_embeddings.training.checkpoint import LAST, load
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import printable

_LARGEST = 256 * 2**20  # bytes of a checkpoint that is opened for what it records
# key of a checkpoint -> its words; others are tensors, or stand in the embedding file too
_RECORDED = {
    "best_epoch": "Best epoch",
    "n_classes": "Classes in training",
    "image_transform": "Images are prepared by",
}
_LONGEST = 400  # characters


def report(options: ReportOptions) -> int:
    """Writes the report.

    Returns:
        Exit code: 0; 1 for a failure, 2 where arguments or files cannot be used, 130 where it was
        interrupted.
    """
    return exit_code("report", lambda: _report(options), smaller="show fewer rows: --points 1000")


def _report(options: ReportOptions) -> None:
    refuse_output(options.out, None, force=options.force)
    check_map(options.map)
    page = build(options, _recorded)
    with replacing(options.out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    with reader_may_leave():
        print(f"Wrote {printable(options.out)} ({len(page.encode()) / 1e6:.1f} MB)")


def _recorded(folder: Path) -> Mapping[str, str]:
    """Plain values of a run's last checkpoint; none where it is too large or cannot be read."""
    path = folder / LAST
    if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGEST:
        return {}
    try:
        state = load(path)
    except (OSError, ValueError):
        return {}
    return {
        words: printable(_in_words(state[key]))[:_LONGEST]
        for key, words in _RECORDED.items()
        if state.get(key) is not None
    }


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_number(one)}" for key, one in value.items() if one is not None)
    return str(value)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
