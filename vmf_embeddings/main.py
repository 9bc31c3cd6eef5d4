"""The command line's door: answers --help at once, and imports Hydra for anything else."""

import sys

from vmf_embeddings.help import help_text


def main() -> None:
    """Runs the command line; exits with 2 for a user's mistake and with 1 for a failure."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(sys.argv[1:]))
        return
    from vmf_embeddings import app

    app.main()


if __name__ == "__main__":
    main()
