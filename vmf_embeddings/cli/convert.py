"""The command `convert`: embeddings in another format."""

from vmf_embeddings.cli.convert_arguments import ConvertOptions
from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.embeddings import write
from vmf_embeddings.embeddings.foreign import read_with_notes
from vmf_embeddings.progress import Progress
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable


def convert(options: ConvertOptions) -> int:
    """Reads and writes.

    Returns:
        Exit code: 0; 1 for a failure, 2 where arguments or files cannot be used, 130 where it was
        interrupted. In all but the first case nothing was written.
    """
    return exit_code("convert", lambda: _convert(options))


def _convert(options: ConvertOptions) -> None:
    refuse_output(options.out, None, force=options.force)
    if options.out.exists() and options.out.samefile(options.source):
        raise Refused(f"{printable(options.out)} is what is read: name another file")
    found = read_with_notes(options.source, options.embeddings, options.labels, labelled=False)
    for note in found.notes:
        print(f"Note: {printable(note)}.")
    with Progress(f"Writing {options.out.name}"):
        write(found.file, options.out)
    shape = list(found.file.embeddings.shape)
    print(f"Wrote embeddings {shape} to {printable(options.out)}")
