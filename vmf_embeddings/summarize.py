"""The entry point of `python -m vmf_embeddings.summarize PATH…`: the command `summarize`."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Runs the command; returns its exit code, 0, 1 or 2."""
    from vmf_embeddings.cli.commands import summarize

    return summarize(sys.argv[1:], prog="python -m vmf_embeddings.summarize")


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
