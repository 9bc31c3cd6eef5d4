"""The door `python -m vmf_embeddings.evaluate PATH…`: score embedding files of any method."""

import sys

from vmf_embeddings.evaluation.arguments import parse_evaluate


def main() -> int:
    """Read the arguments first: the rest imports torch, which takes seconds."""
    options = parse_evaluate()
    from vmf_embeddings.evaluation.command import evaluate

    return evaluate(options)


if __name__ == "__main__":
    sys.exit(main())
