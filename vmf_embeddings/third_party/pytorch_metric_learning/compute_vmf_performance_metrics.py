"""2021's metric script of vMF runs: a thin door, `evaluation` does the work."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Read the arguments first: the rest imports torch, which takes seconds."""
    from vmf_embeddings.cli.evaluate_arguments import parse_vmf_door

    options = parse_vmf_door()
    from vmf_embeddings.cli.evaluate import evaluate

    return evaluate(options)


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
