"""How scores by length and number format, and before and after re-ranking, are printed."""

from vmf_embeddings.evaluation.compact import COMPACT, N_OVERLAP
from vmf_embeddings.evaluation.reranked import RERANKED
from vmf_embeddings.evaluation.score_table import TableText

_RETRIEVAL = {
    "recall@1": ("R@1 %", 100, 2),
    "map@r": ("MAP@R %", 100, 2),
    "mean_average_precision": ("mAP %", 100, 2),
}
_FORMATS = {"signs": ", rescored by signs", "rescored": ", rescored by float rows"}
_WAYS = {
    "none": "as they are",
    "k_reciprocal": "+ k-reciprocal",
    "alpha_qe": "+ query expansion",
    "dba": "+ database augmentation",
}


def _label(row: str) -> str:
    """The name of a length and format in words.

    >>> _label("16/binary_rescored"), _label("pca_16/float32")
    ('16, binary, rescored by float rows', '16 by PCA')
    """
    length, _, kind = row.partition("/")
    if length.startswith("pca_"):
        return f"{length.removeprefix('pca_')} by PCA"
    precision, _, rescored = kind.partition("_")
    return f"{length}, {precision}{_FORMATS.get(rescored, '')}"


TABLES = {
    COMPACT: TableText(
        title="Shorter and coarser embeddings",
        head="dimensions, format",
        columns={
            "bytes_per_row": ("bytes", 1, 0),
            **_RETRIEVAL,
            f"overlap@{N_OVERLAP}": (f"overlap@{N_OVERLAP} %", 100, 1),
            "accuracy": ("accuracy %", 100, 2),
        },
        label=_label,
        exact=("bytes_per_row",),
    ),
    RERANKED: TableText("Ranked again", "retrieval", _RETRIEVAL, label=_WAYS.__getitem__),
}
