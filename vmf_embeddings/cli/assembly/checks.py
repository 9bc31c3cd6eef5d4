"""Checks that parts fit together before work starts: contradictions are refused or logged."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from vmf_embeddings.cli.assembly.refused import Refused

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method
    from vmf_embeddings.samplers.base import BatchSampler
    from vmf_embeddings.training.job import TrainingJob
    from vmf_embeddings.training.optimizers import OptimizerFactory

SURE = 0.9  # probability that a learned scale must be able to give the right class

log = logging.getLogger(__name__)
N_COMPARED = 4  # images whose views are looked at


def refuse_single_class(data: "Dataset") -> None:
    """Refuses to train on fewer than two classes: whatever the network says would be right.

    Raises:
        Refused: with the name of the class, if it has one.
    """
    train = data.split("train")
    if train.n_classes < 2:
        name = f", {train.class_names[0]!r}" if train.class_names else ""
        raise Refused(
            f"the {len(train)} training {train.unit} belong to one class{name}: training needs at "
            "least two. Are the folders, the column label, or the lists what you meant?"
        )


def refuse_second_stages(built: "Method") -> None:
    """Refuses to train a method without a trained run if its head needs one.

    Raises:
        Refused: names the mode to use.
    """
    if built.second_stage is not None:
        raise Refused(
            f"this head needs the features or the classifier of a trained run: train with another "
            f"head, then use mode={built.second_stage} run=RUN_FOLDER"
        )


def warn_of_contradictions(built: "Method", sampler: "BatchSampler") -> None:
    """Logs a warning if two choices repeat each other, or one has no effect."""
    if built.uses_prior and getattr(sampler, "balances", False):
        log.warning(
            "the loss adds the log frequency of the classes, and the sampler balances the classes: "
            "both reduce the weight of frequent classes, so that rare ones will be predicted too "
            "often. Use one of them: a loss without a prior such as loss=ce, or sampler=random"
        )
    if built.feature_scaling is not None and not built.uses_norm:
        log.warning(
            "feature_scaling has no effect here: the logits are cosines, which do not depend on "
            "the norm of an embedding. Use head=linear, or leave feature_scaling out"
        )


def warn_of_lost_norms(built: "Method") -> None:
    """Logs a warning if norms are used that are all 1, or learned that the loss does not see."""
    criterion = getattr(built, "criterion", None)
    if criterion is not None and criterion.uses_norm and built.arch.normalize:
        log.warning(
            "criterion=%s compares inner products or distances of embeddings of any norm, but "
            "arch.params.normalize=true sets all norms to 1: use arch.params.normalize=false",
            criterion.name,
        )
    if getattr(built.arch.projection, "learns_length", False) and not built.uses_norm:
        log.warning(
            "method=%s reads directions of embeddings alone, so that the network for their lengths "
            "of arch.params.projection=linear_kappa learns nothing: use "
            "arch.params.projection=linear, or a method for lengths such as method=elk",
            built.name,
        )


def warn_of_rates(built: "Method", learning_rate: float) -> None:
    """Logs a warning if a factor raises the learning rate of some parameters above 1.

    Args:
        built: the method; its `extra_param_groups` may have an `lr_factor`.
        learning_rate: learning rate of the run.
    """
    from vmf_embeddings.methods.parameter_groups import take_rate

    for group in built.extra_param_groups():
        factor, option = group.get("lr_factor", 1.0), group.get("lr_option", "lr_factor")
        rate = take_rate(dict(group), learning_rate)
        if factor > 1 and rate > 1:
            log.warning(
                "Some parameters learn at %s=%g times mode.learning_rate=%g, which is %g: factors "
                "in the thousands are meant for Adam at 1e-5. Here the same rate as there is "
                "%s=%g",
                *(option, factor, learning_rate, rate, option, factor * 1e-5 / learning_rate),
            )


def is_adaptive(make_optimizer: "OptimizerFactory") -> bool:
    """Whether a step is about as large as the learning rate in every coordinate, as of Adam."""
    import torch

    optimizer = make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    return "betas" in optimizer.param_groups[0]  # of Adam and its relatives


def warn_of_slow_scale(built: "Method", learning_rate: float, n_steps: int) -> None:
    """Logs a warning if Adam cannot move the learned scale of a head to where it can be sure.

    Published recipes learn the scale by SGD at large rates. A step of Adam moves its parameter by
    the learning rate at most, so that the number of steps bounds the scale.

    Args:
        built: the method.
        learning_rate: of the run, for an optimizer that `is_adaptive`.
        n_steps: of the whole training.
    """
    from vmf_embeddings.heads.cosine import CosineHead, learned_scale

    for head in built.modules():
        if not isinstance(head, CosineHead) or head.raw_scale is None or head.normalizer:
            continue
        first = head.raw_scale.detach()
        most = float(learned_scale(first + learning_rate * n_steps))
        sure = head.largest_confidence(most)
        if sure < SURE:
            log.warning(
                "head=%s learns its scale from %.2f, and mode.learning_rate=%g moves it too slowly "
                "for this optimizer: %d steps make it %.2f at most, where the right one of %d "
                "classes gets %.0f %% even if all images lie at their classes. Confidences will be "
                "far too low: add head.params.scale=16",
                *(head.name, float(learned_scale(first)), learning_rate, n_steps, most),
                *(head.n_classes, 100 * sure),
            )
        return


def refuse_other_batches(
    built: "Method",
    sampler: "BatchSampler",
    data: "Dataset",
    *,
    options: Collection[str] = ("augment", "views"),
) -> None:
    """Refuses a sampler or a data set whose batches lack the views or pairs of a method.

    Args:
        built: the method.
        sampler: draws the batches.
        data: data set of the run.
        options: names of the data set's options.

    Raises:
        Refused: with the overrides to add.
    """
    views, paired = built.batch_layout.views, built.batch_layout.paired
    missing = []
    if views != data.views and "views" not in options:
        raise Refused(
            f"method={built.name} trains on {views} views of every image, and dataset={data.name} "
            "makes one only (it has no dataset.params.views): use another method or another "
            "data set, such as one with long tails"
            + (f"; or add {built.batch_layout.one_view}" if built.batch_layout.one_view else "")
        )
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
    if built.batch_layout.differ:
        _refuse_equal_views(built, data, has_augmentations="augment" in options)


def _refuse_equal_views(built: "Method", data: "Dataset", *, has_augmentations: bool) -> None:
    """Refuses views that are copies, as of a data set without augmentation; looks at four images.

    Raises:
        Refused: with the override to add.
    """
    import torch

    train = data.split("train", augment=True)
    with torch.random.fork_rng(devices=[]):
        some = [train.example(index) for index in range(min(N_COMPARED, len(train)))]
    if all(torch.equal(view, views[0]) for views in some for view in views):
        other = "a data set that has an augmentation"
        if has_augmentations:
            other = f"dataset.params.augment=shift or another augmentation, {other}"
        raise Refused(
            f"method={built.name} compares views of an image, and dataset={data.name} gives equal "
            "ones: its training images are not augmented. Take "
            f"{other}, or add {built.batch_layout.one_view}"
        )


def check_learning_sampler(job: "TrainingJob") -> None:
    """Refuses a sampler that learns if the method or the optimizer cannot give it a gradient.

    Raises:
        ValueError: with the overrides to add, see `training.meta_step.refuse_unsupported`.
    """
    import torch

    from vmf_embeddings.training.meta_step import refuse_unsupported

    if job.sampler.learns:
        any_optimizer = job.make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
        refuse_unsupported(job.method, any_optimizer)
