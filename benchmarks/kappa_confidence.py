"""Initial mean cosine of von Mises-Fisher distributions in open sets, by dimension.

python -m benchmarks.kappa_confidence --data FOLDER --out FOLDER --jobs 2
"""

import sys
from dataclasses import replace

from benchmarks.metric_learning import VMF
from benchmarks.study import Row, Study, arguments, carry_out

COLUMNS = {"R@1": ("normalised", "recall@1"), "MAP@R": ("normalised", "map@r")}
BY_LAW = {"R@1": ("retrieval", "recall@1"), "MAP@R": ("retrieval", "map@r")}
WIDTHS = (16, 128, 512)
CONFIDENCES = ("0.4", "0.7", "0.9", "0.95", "0.99", "auto")


def rows_of_width(width: int) -> list[Row]:
    """Cosine softmax, and vMF softmax at each confidence, compared by cosine and by its law."""
    dim = f"arch.params.embedding_dim={width}"
    softmax = (dim, "criterion=softmax", "criterion.params.class_lr=0.001")
    baseline = f"D={width}, softmax on cosines"
    rows = [Row("softmax", baseline, softmax, "dml", width=width)]
    for confidence in CONFIDENCES:
        words = (*VMF, dim, f"arch.params.kappa_confidence={confidence}")
        title = f"D={width}, vMF, {confidence}"
        vmf = Row(f"vmf_{confidence}", title, words, "vmf_softmax", width=width, baseline=baseline)
        rows += [vmf, replace(vmf, title=f"{title}, expected cosine", columns=BY_LAW)]
    return rows


def main() -> int:
    """Runs what is missing, scores everything, writes kappa_confidence.md and .json."""
    asked = arguments(__doc__, ("digits_open", "mnist_open")).parse_args()
    rows = tuple(row for width in WIDTHS for row in rows_of_width(width))
    study = Study(
        rows, COLUMNS, 128, tuple(asked.sets), tuple(asked.seeds), asked.data, asked.epochs,
        metrics=("metrics=[recall,map]",),
    )  # fmt: skip
    return carry_out(study, "kappa_confidence", asked.out, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
