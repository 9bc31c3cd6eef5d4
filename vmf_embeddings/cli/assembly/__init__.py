"""Builds objects from configuration nodes; the only package that knows both."""

from vmf_embeddings.cli.assembly.checks import (
    check_learning_sampler,
    refuse_other_batches,
    refuse_second_stages,
    warn_of_contradictions,
    warn_of_lost_norms,
    warn_of_rates,
)
from vmf_embeddings.cli.assembly.construct import instantiate
from vmf_embeddings.cli.assembly.folders import (
    register_resolvers,
    run_folder,
    runs_below,
    sweep_folder,
)
from vmf_embeddings.cli.assembly.jobs import check_options, extraction_job, training_job
from vmf_embeddings.cli.assembly.options import option_file
from vmf_embeddings.cli.assembly.parts import dataset, method, refuse_unread_groups, takes_head
from vmf_embeddings.cli.assembly.refused import Refused, refusals
from vmf_embeddings.cli.assembly.targets import ALLOWED, EXTENDED_BY, checked_target

__all__ = [
    "ALLOWED",
    "EXTENDED_BY",
    "Refused",
    "check_options",
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
    "check_learning_sampler",
    "register_resolvers",
    "run_folder",
    "runs_below",
    "sweep_folder",
    "takes_head",
    "training_job",
    "warn_of_contradictions",
    "warn_of_lost_norms",
    "warn_of_rates",
]
