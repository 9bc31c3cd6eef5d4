"""The table of docs/long-tail.md: every method of the long tail on two small sets, three seeds.

python -m benchmarks.long_tail --data FOLDER --out FOLDER --jobs 2
"""

import sys

from benchmarks.study import Row, Study, arguments, carry_out

COLUMNS = {
    "all": ("classification", "accuracy"),
    "many": ("shots", "many"),
    "medium": ("shots", "medium"),
    "few": ("shots", "few"),
}
SECOND = 'stages.second=["mode=finetune","sampler.batch_size=32"]'
FSGL = (
    "method=fsgl",
    "method.params.projection_dim=64",
    "sampler=paired",
    "dataset.params.views=2",
)
STRENGTH = "feature_scaling.params.strength=0.5"
ROWS = (
    Row("ce", "cross-entropy"),
    Row("balanced_softmax", "balanced softmax", ("loss=balanced_softmax",)),
    Row("ldam_drw", "LDAM-DRW", ("head=cosine", "loss=ldam", "loss.params.drw_epoch=24"),
        trial=("loss.params.drw_epoch=1",)),
    Row("cosine", "cosine head", ("head=cosine",)),
    Row("tvmf", "t-vMF, one stage", ("head=tvmf_k16",)),
    Row("tvmf", "t-vMF, two stages", ("head=tvmf_k16", "stages=imbalance", SECOND),
        below="finetune"),
    Row("dive", "DiVE over balanced softmax", ("method=dive",), "dive", teacher="balanced_softmax"),
    Row("glmc", "FSGL without feature scaling", (*FSGL, "feature_scaling=none"), "fsgl"),
    Row("fsgl", "FSGL", (*FSGL, "feature_scaling=logfreq", STRENGTH), "fsgl"),
    Row("ce_sam", "cross-entropy, SAM", ("optimizer=sam",)),
    Row("balanced_softmax_sam", "balanced softmax, SAM",
        ("loss=balanced_softmax", "optimizer=sam")),
    Row("glmc_sam", "FSGL without feature scaling, SAM",
        (*FSGL, "feature_scaling=none", "optimizer=sam"), "fsgl"),
    Row("fsgl_sam", "FSGL, SAM",
        (*FSGL, "feature_scaling=logfreq", STRENGTH, "optimizer=sam"), "fsgl"),
)  # fmt: skip


def main() -> int:
    """Runs what is missing, scores everything, writes long_tail.md and long_tail.json."""
    asked = arguments(__doc__, ("mnist_lt", "digits_lt")).parse_args()
    study = Study(
        ROWS, COLUMNS, 64, tuple(asked.sets), tuple(asked.seeds), asked.data, asked.epochs
    )
    return carry_out(study, "long_tail", asked.out, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
