"""k-means clusters against classes, in both spaces of the scores of metric learning."""

from dataclasses import asdict

import torch

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText
from vmf_embeddings.metrics.agreement import cluster_agreement
from vmf_embeddings.metrics.clustering import MOST_PAIRS, kmeans, some_classes
from vmf_embeddings.metrics.embedding_scores import SPACE_NAMES, SPACES, spaces
from vmf_embeddings.progress import LARGE_JOB, Progress

TABLE = TableText(
    title="Clusters of k-means against classes",
    head="embeddings",
    columns={
        "ami": ("AMI %", 100, 2),
        "ari": ("ARI %", 100, 2),
        "v_measure": ("NMI = V %", 100, 2),
        "homogeneity": ("homogeneity %", 100, 2),
        "completeness": ("completeness %", 100, 2),
        "bcubed_f": ("BCubed F %", 100, 2),
    },
    label=lambda row: {"as_output": "as output", "normalised": "normalised"}[row],
)


def score(context: Context) -> ScoreTable:
    """k-means as for `nmi`, with as many clusters as classes, and every agreement with classes.

    Raises:
        ImportError: faiss is not installed.
    """
    options, kept = context.options, torch.from_numpy(context.kept)
    ids = torch.from_numpy(context.file.ids)[kept]
    most = None if options.nmi_all_rows else MOST_PAIRS
    chosen = some_classes(ids, most, options.seed)
    n_clusters = len(ids[chosen].unique())
    table = ScoreTable()
    every = spaces(context.file.embeddings)
    for space in SPACES:
        rows = every[space][kept][chosen]
        what = f"k-means of {len(rows):,} rows into {n_clusters:,} clusters, {SPACE_NAMES[space]}"
        with Progress(what, at_once=len(rows) > LARGE_JOB):
            clusters, _ = kmeans(
                rows, n_clusters, spherical=space == "normalised", seed=options.seed
            )
            table.rows[space] = asdict(cluster_agreement(clusters, ids[chosen]))
    table.about = {
        "n_rows": len(chosen),
        "n_rows_in_all": len(ids),
        "n_clusters": n_clusters,
        "seed": options.seed,
    }
    if len(chosen) < len(ids):
        table.notes.append(
            f"clusters are of {len(chosen):,} of {len(ids):,} rows, {n_clusters:,} classes drawn "
            f"at random with seed {options.seed}; --nmi-all-rows takes all"
        )
    if any(own["ami"] != own["ami"] for own in table.rows.values()):
        table.about["ami"] = "not computed: its expectation over this many cells takes minutes"
    return table
