"""From configuration nodes to objects: the one package that knows those nodes and all others."""

from vmf_embeddings.cli.assembly.checks import (
    refuse_other_batches,
    refuse_second_stages,
    refuse_what_cannot_learn,
    warn_of_contradictions,
    warn_of_lost_lengths,
    warn_of_rates,
)
from vmf_embeddings.cli.assembly.construct import instantiate
from vmf_embeddings.cli.assembly.folders import (
    register_resolvers,
    run_folder,
    runs_below,
    sweep_folder,
)
from vmf_embeddings.cli.assembly.jobs import extraction_job, training_job
from vmf_embeddings.cli.assembly.options import option_file
from vmf_embeddings.cli.assembly.parts import dataset, method, refuse_unread_groups
from vmf_embeddings.cli.assembly.refused import Refused, refusals
from vmf_embeddings.cli.assembly.targets import ALLOWED, EXTENDED_BY, checked_target

__all__ = [
    "ALLOWED",
    "EXTENDED_BY",
    "Refused",
    "checked_target",
    "dataset",
    "extraction_job",
    "instantiate",
    "method",
    "option_file",
    "refusals",
    "refuse_other_batches",
    "refuse_second_stages",
    "refuse_unread_groups",
    "refuse_what_cannot_learn",
    "register_resolvers",
    "run_folder",
    "runs_below",
    "sweep_folder",
    "training_job",
    "warn_of_contradictions",
    "warn_of_lost_lengths",
    "warn_of_rates",
]
