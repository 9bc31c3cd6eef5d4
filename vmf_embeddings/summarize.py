"""The door `python -m vmf_embeddings.summarize PATH…`: one table over many scored runs."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory


def main() -> int:
    """Read the arguments first: the rest imports matplotlib, which takes a second."""
    from vmf_embeddings.cli.summarize_arguments import parse_summarize

    options = parse_summarize()
    from vmf_embeddings.cli.summarize import summarize

    return summarize(options)


if __name__ == "__main__":
    leave_working_directory()
    sys.exit(main())
