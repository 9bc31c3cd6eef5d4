"""2021's metric script of vMF runs: a thin door, `evaluation` does the work."""

import sys

from vmf_embeddings.evaluation.arguments import parse_vmf_door


def main() -> int:
    """Read the arguments first: the rest imports torch, which takes seconds."""
    options = parse_vmf_door()
    from vmf_embeddings.evaluation.command import evaluate

    return evaluate(options)


if __name__ == "__main__":
    sys.exit(main())
