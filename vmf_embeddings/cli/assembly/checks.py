"""Choices that contradict each other: refused, or said in the log, before work starts."""

import logging
from typing import TYPE_CHECKING, Any

from vmf_embeddings.cli.assembly.refused import Refused

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method

log = logging.getLogger(__name__)


def refuse_second_stages(built: "Method") -> None:
    """Refuses to train from nothing what belongs to the second stage of a trained run."""
    if built.second_stage is not None:
        raise Refused(
            f"this head needs the features or the classifier of a trained run: train with another "
            f"head, then say mode={built.second_stage} run=RUN_FOLDER"
        )


def warn_of_contradictions(built: "Method", sampler: Any) -> None:
    """Says in the log where two choices undo or repeat each other."""
    if built.uses_prior and getattr(sampler, "balances", False):
        log.warning(
            "the loss adds the log frequency of the classes, and the sampler draws classes alike: "
            "the frequent ones are held back twice, and the rare ones will be predicted too "
            "often. Use one of them: a loss without a prior such as loss=ce, or sampler=random"
        )
    if built.feature_scaling is not None and not built.uses_norm:
        log.warning(
            "feature_scaling changes nothing here: the logits are cosines, which do not hang on "
            "the length of an embedding. Use head=linear, or leave feature_scaling out"
        )


def warn_of_lost_lengths(built: "Method") -> None:
    """Says in the log where a backbone normalises embeddings whose lengths a criterion reads."""
    criterion = getattr(built, "criterion", None)
    if criterion is not None and criterion.uses_norm and built.arch.normalize:
        log.warning(
            "criterion=%s compares inner products or distances of embeddings of any length, and "
            "arch.params.normalize=true leaves them none but 1: say arch.params.normalize=false",
            criterion.name,
        )


def warn_of_rates(built: "Method", learning_rate: float) -> None:
    """Says in the log where a factor makes a learning rate larger than anything of use.

    Args:
        built: whose parameters may learn at a multiple of the run's rate.
        learning_rate: of the run.
    """
    factor = max((group.get("lr_factor", 1.0) for group in built.extra_param_groups()), default=1.0)
    if factor > 1 and factor * learning_rate > 1:
        log.warning(
            "Some parameters learn at %g times mode.learning_rate=%g, which is %g: factors in the "
            "thousands are meant for Adam at 1e-5. Lower lr_factor (in criterion.params or "
            "method.params) or mode.learning_rate",
            *(factor, learning_rate, factor * learning_rate),
        )


def refuse_other_batches(built: "Method", sampler: Any, data: "Dataset") -> None:
    """Refuses batches whose form the method does not take.

    Raises:
        Refused: with the words to type.
    """
    views, paired = built.batch_layout.views, built.batch_layout.paired
    missing = []
    if paired and not sampler.pairs:
        missing.append("sampler=paired")
    if views != data.views:
        missing.append(f"dataset.params.views={views}")
    if missing:
        partners = " and pairs of images" if paired else ""
        raise Refused(
            f"method={built.name} trains on {views} view{'s' * (views > 1)} of every "
            f"image{partners}; add {' '.join(missing)} to the command"
        )


def refuse_what_cannot_learn(job: dict[str, Any]) -> None:
    """Refuses a training job whose sampler learns where nothing teaches it."""
    import torch

    from vmf_embeddings.training.meta_step import refuse_what_cannot_be_judged

    if job["sampler"].learns:
        any_optimizer = job["make_optimizer"]([{"params": [torch.zeros(1, requires_grad=True)]}])
        refuse_what_cannot_be_judged(job["method"], any_optimizer)
