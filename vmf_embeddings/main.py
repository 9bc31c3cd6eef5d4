"""The entry point of `python -m vmf_embeddings.main`: the command `train` by its name of 2021."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Runs the command; `--help` is answered without importing Hydra."""
    from vmf_embeddings.cli.commands import train

    return train(sys.argv[1:])


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
