"""The metric script of 2021 for vMF runs; `vmf_embeddings.evaluation` computes the scores."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Reads the arguments before importing torch, which takes seconds; returns the exit code."""
    from vmf_embeddings.cli.evaluate_arguments import parse_vmf_script

    options = parse_vmf_script()
    from vmf_embeddings.cli.evaluate import evaluate

    return evaluate(options)


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
