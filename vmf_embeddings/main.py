"""The command line's entry: answers --help at once, and imports Hydra for anything else."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> None:
    """Runs the command line; exits with 2 for a user's mistake and with 1 for a failure."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        from vmf_embeddings.cli.help import help_text

        print(help_text(sys.argv[1:]))
        return
    from vmf_embeddings.cli import app

    app.main()


if __name__ == "__main__":
    leave_working_directory()
    main()
