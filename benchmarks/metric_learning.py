"""The tables of docs/metric-learning.md: objectives on two open-set tasks, three seeds.

python -m benchmarks.metric_learning --data FOLDER --out FOLDER --jobs 2
"""

import sys

from benchmarks.study import Row, Study, arguments, carry_out

COLUMNS = {
    "R@1": ("normalised", "recall@1"),
    "MAP@R": ("normalised", "map@r"),
    "NMI": ("normalised", "nmi"),
}
# the published factors, which are meant for a rate of 1e-5, at one of 1e-3
NIR = ("method=nir", "criterion=proxy_anchor", "method.params.proxy_lr_factor=40",
       "method.params.flow_lr_factor=0.5")  # fmt: skip
VMF = ("method=vmf_softmax", "arch.params.normalize=False", "arch.params.use_vmf=True",
       "arch.params.learn_temp=True", "arch.params.init_temp=-2.773",
       "mode.temp_learning_rate=0.01")  # fmt: skip
CONFIDENCE_OF_PAPER = "arch.params.kappa_confidence=0.7"
ROWS = (
    Row("proxy_anchor", "proxy anchor",
        ("criterion=proxy_anchor", "criterion.params.lr_factor=20"), "dml"),
    Row("nir_control", "proxy anchor, NIR's control", (*NIR, "method.params.w_flow=0"), "nir"),
    Row("nir_exp", "NIR, exp", NIR, "nir"),
    Row("nir_nll", "NIR, nll", (*NIR, "method.params.flow_objective=nll"), "nir"),
    Row("nir_per_dim", "NIR, nll per dimension, full proxy term",
        (*NIR, "method.params.flow_objective=nll_per_dim", "method.params.w_align=1"), "nir"),
    Row("margin", "margin, distance miner", ("criterion=margin", "miner=distance"), "dml"),
    Row("multisimilarity", "multi-similarity", (), "dml"),
    Row("softmax", "softmax", ("criterion=softmax", "criterion.params.class_lr=0.001"), "dml"),
    Row("arcface", "ArcFace", ("criterion=arcface", "criterion.params.class_lr=0.001"), "dml"),
    Row("vmf", "vMF", (*VMF, CONFIDENCE_OF_PAPER), "vmf_softmax"),
    Row("vmf", "vMF, compared by its law", (*VMF, CONFIDENCE_OF_PAPER), "vmf_softmax",
        columns={"R@1": ("retrieval", "recall@1"), "MAP@R": ("retrieval", "map@r")}),
)  # fmt: skip


def main() -> int:
    """Runs what is missing, scores everything, writes metric_learning.md and .json."""
    asked = arguments(__doc__, ("digits_open", "mnist_open")).parse_args()
    study = Study(
        ROWS, COLUMNS, 128, tuple(asked.sets), tuple(asked.seeds), asked.data, asked.epochs,
        metrics=("metrics=[recall,map,nmi]",),
    )  # fmt: skip
    return carry_out(study, "metric_learning", asked.out, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
