"""The command `export`: a trained run as ONNX, as a graph of torch.export, or as a bundle."""

from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.export_arguments import ExportOptions
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.library.export_graph import Exported
from vmf_embeddings.progress import Progress
from vmf_embeddings.trained import load
from vmf_embeddings.untrusted.text import printable


def export(options: ExportOptions) -> int:
    """Writes the file and prints what is in it.

    Returns:
        Exit code: 0; 1 where the file could not be written or would compute something else; 2 where
        arguments or run cannot be used, or the network cannot become such a file.
    """
    return exit_code("export", lambda: _export(options))


def _export(options: ExportOptions) -> None:
    refuse_output(options.out, options.run, force=options.force)
    run = load(options.run, device="cpu")
    with Progress(f"Writing {options.out.name}"):
        written = run.export(options.out, predict=options.predict, batch=options.batch)
    with reader_may_leave():
        print(f"Wrote {printable(options.out)}" + _contents(written))


def _contents(written: Exported) -> str:
    """Names and shapes, and how far the file is from torch."""
    if written.largest_difference is None:
        return ": a bundle, read by vmf.load and every command that takes a run"
    (name, shape), *_ = written.inputs.items()
    sizes = ", ".join(map(str, shape))
    return (
        f": {name} [{sizes}] -> {', '.join(written.outputs)}\n"
        f"Largest difference from torch on {written.compared} inputs: "
        f"{written.largest_difference:.2g}"
    )
