"""The entry point of `python -m vmf_embeddings COMMAND` and of the script `vmf-embeddings`."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Runs the command that the command line names; returns its exit code, 0, 1 or 2."""
    from vmf_embeddings.cli.commands import run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
