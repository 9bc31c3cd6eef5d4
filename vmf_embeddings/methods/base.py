"""Base class of the methods: a backbone, class parameters and a loss; trained and checkpointed."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.geometry import Cosine, Geometry
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.feature_scaling import FeatureScaling
from vmf_embeddings.methods.older_checkpoints import copy_reference, rename_class_parameters
from vmf_embeddings.methods.parameter_groups import parameter_groups
from vmf_embeddings.methods.precision import widen

GROUPS_OF_PARTS = ("head", "loss", "criterion", "miner")  # configuration groups


@dataclass(frozen=True)
class BatchLayout:
    """What a training batch holds.

    Attributes:
        views: augmented views of every image, >= 1; above 1 they are the second axis of a batch.
        paired: whether row B + i of a batch of 2 B rows is paired with row i.
        one_view: override with which the method takes one view; None = there is none.
        differ: whether views that are equal, as of data sets without augmentation, mean nothing.
    """

    views: int = 1
    paired: bool = False
    one_view: str | None = None
    differ: bool = False


class Method(nn.Module, ABC):
    """Base of all methods.

    A subclass implements `loss`, `logits` and `geometry`, and sets `self.class_parameters` if it
    has class weights.

    Args:
        arch: the backbone; its `class_spec` has the number of classes and initial values.
    """

    uses_vmf: ClassVar[bool] = False
    """Whether the class weights are von Mises-Fisher parameters, kappa times mu."""

    batch_layout: ClassVar[BatchLayout] = BatchLayout()
    """What a training batch holds."""

    needs_global_batch: ClassVar[bool] = False
    """Whether the loss compares the rows of a batch with one another: then each of several
    processes gives it the rows of all, and draws in it what the others draw."""

    logs_as_in_2021: ClassVar[bool] = False
    """Whether the log line of an epoch always has `Temp` and `Z-Kappa-Mult`, as the code of 2021
    printed them for its five methods."""

    instead_of: ClassVar[dict[str, str]] = {}
    """Configuration group that the method does not read -> the option to use instead of it."""

    not_on_prefixes: ClassVar[str | None] = None
    """Why `loss` means nothing on the first coordinates of embeddings; None where it does."""

    needs_n_epochs: ClassVar[bool] = False
    """Whether the loss depends on the number of epochs of the whole training, see `configure`."""

    takes_soft_labels: ClassVar[bool] = False
    """Whether `loss` also takes soft labels [B, C], the probabilities of the classes."""

    teacher_run: str | None = None

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        if arch.class_spec.use_vmf not in (None, self.uses_vmf):
            flag = f"arch.params.use_vmf={self.uses_vmf}"
            raise ValueError(
                f"method={self.name} needs {flag}, got {arch.class_spec.use_vmf}; "
                f"leave arch.params.use_vmf out of the command, or say {flag}."
            )
        self.arch = arch
        self.class_parameters: ClassParameters | None = None
        self.feature_scaling: FeatureScaling | None = None
        self.backbone_stays_in_eval = False
        # set by the loop where processes share the batches of a method that `needs_global_batch`
        self.global_batch: Callable[..., dict[str, Tensor]] | None = None
        # set by the loop where each process holds some of the classes only
        self.class_shard: ClassShard | None = None
        self.register_load_state_dict_pre_hook(rename_class_parameters)

    @property
    def name(self) -> str:
        """The name of the method is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    def parts(cls, params: Container[str] = ()) -> tuple[str, ...]:
        """The configuration groups whose objects the constructor takes, by its signature.

        Args:
            params: keys of `params` in its own yaml file, which are not taken from groups.

        Returns:
            Of `GROUPS_OF_PARTS`.
        """
        arguments = inspect.signature(cls).parameters
        return tuple(g for g in GROUPS_OF_PARTS if g in arguments and g not in params)

    @classmethod
    def has_teacher(cls) -> bool:
        """Whether a training step needs the trained method of `teacher_run`."""
        return "teacher" in inspect.signature(cls).parameters

    # embeddings, loss and predictions

    def embed(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> embeddings [B, D] as stored and compared; float32 or wider.

        Of a frozen backbone also features [B, F], see `Arch.pooled_features`.
        """
        return widen(self.arch(images))

    @abstractmethod
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D] of `embed`, labels [B] in 0..C-1 -> mean loss in nats, scalar."""

    @abstractmethod
    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits [B, C] or [B, S, C], temperature applied, or None."""

    def unadjusted_logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> `logits` before any adjustment to the class frequencies."""
        return self.logits(embeddings)

    def predict(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> class probabilities [B, C], averaged over S if there are samples."""
        logits = self.logits(embeddings)
        if logits is None:
            raise ValueError(f"method={self.name} has no classes to predict.")
        probabilities = logits.softmax(-1)
        return probabilities if probabilities.ndim == 2 else probabilities.mean(1)

    def predict_without_draws(self, embeddings: Tensor) -> Tensor:
        """As `predict`, by expected values where that draws samples: for exported graphs."""
        return self.predict(embeddings)

    @property
    def backbones(self) -> list[Arch]:
        """Every backbone that runs in a training step."""
        return [self.arch]

    @property
    def needs_images(self) -> bool:
        """Whether a training step uses more of the images than the features of `arch`."""
        return len(self.backbones) > 1

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """How two embeddings are compared."""

    @property
    def confidence_name(self) -> str:
        """What `confidence` returns."""
        return self.geometry.confidence_name

    def confidence(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of `embed` -> one number each, larger = more confident [B], >= 0.

        Default: what the geometry makes of their norms. Another one is stored in embedding files.
        """
        return self.geometry.confidence(embeddings)

    @property
    def class_weights(self) -> Tensor | None:
        """[C, D], or None without class weights in the space of the embeddings."""
        return None if self.class_parameters is None else self.class_parameters.vectors

    @property
    def linear_head(self) -> nn.Module | None:
        """The head whose dot products with the embeddings predict, if the method has one."""
        return None

    @property
    def temperature(self) -> Tensor:
        """exp(tau) = 1/beta, scalar; 1 where the method has no temperature."""
        if self.class_parameters is not None:
            return self.class_parameters.temperature
        return next(self.parameters(), torch.ones(())).new_ones(())

    @property
    def uses_norm(self) -> bool:
        """Whether the loss depends on the norm of embeddings, not only on their direction."""
        return not isinstance(self.geometry, Cosine)

    @property
    def has_logits(self) -> bool:
        """Whether `logits` are not None; a method without is validated by Recall@1 on any data."""
        return True

    @property
    def loss_is_row_mean(self) -> bool:
        """Whether the loss of a batch is the mean of its rows' losses."""
        return not self.needs_global_batch

    @property
    def max_batch_size(self) -> int | None:
        """Images that a training batch may have at most; None = any number."""
        return None

    @property
    def second_stage(self) -> str | None:
        """The mode that must follow the training of something else; None = trained from scratch."""
        return None

    @property
    def uses_prior(self) -> bool:
        """Whether the loss adds the log frequency of the classes to the logits."""
        return False

    def status(self) -> dict[str, float]:
        """Numbers for the log line of an epoch; synchronises with the device."""
        if self.class_parameters is None or self.class_parameters.tau is None:
            return {}
        return {"temperature": float(self.temperature.detach())}

    def class_kappas(self) -> Tensor | None:
        """Concentrations of the classes' distributions [C], or None. Default: None."""
        return None

    def describe(self) -> dict[str, Any]:
        """What embedding files record besides the geometry, ready for JSON. Default: nothing."""
        return {}

    # called by the training loop

    def set_teacher(self, teacher: "Method") -> None:
        """Sets the trained method to learn from, before training.

        Raises:
            TypeError: this method has no parameter `teacher`.
        """
        raise TypeError(f"method={self.name} learns from no teacher.")

    def configure(  # noqa: B027 - most methods need nothing
        self, *, margin_warmup_epochs: int, n_epochs: int | None = None
    ) -> None:
        """Receives settings of the data set and the loop, once before training. Default: ignored.

        Args:
            margin_warmup_epochs: epochs during which an additive margin stays 0 on this data set.
            n_epochs: epochs of the whole training; None where there is none.
        """

    def prepare(self, batches: Callable[[], Iterable[Tensor]], class_counts: Tensor) -> None:
        """Calls `set_class_counts` and `init_from_data`, before epoch 0.

        Args:
            batches: see `init_from_data`.
            class_counts: images per class [C].
        """
        self.set_class_counts(class_counts)
        self.init_from_data(batches)

    def set_class_counts(self, class_counts: Tensor) -> None:  # noqa: B027 - most need none
        """Receives the training images per class [C]. Default: ignored."""

    def init_from_data(  # noqa: B027 - most methods need nothing
        self, batches: Callable[[], Iterable[Tensor]]
    ) -> None:
        """Sets starting values that depend on the data. Default: nothing.

        Args:
            batches: call it for one pass over the training images, in batches [b, ch, H, W] on the
                method's device.
        """

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - most methods need nothing
        """Called before every epoch, counted from 0. Default: nothing."""

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Batch with "examples" [B, ch, H, W] and "ids" [B] -> loss, scalar."""
        if self.global_batch is None:
            return self.loss(**self.loss_inputs(batch))
        return self.loss(**self.global_batch(self.loss_inputs, batch))

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Batch -> the arguments of `loss` by name, one row each per image."""
        labels = batch["ids"]
        return {
            "embeddings": self.scale_features(self.embed(batch["examples"]), labels),
            "labels": labels,
        }

    def loss_inputs_of_views(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same of a batch of several views [B, V, ch, H, W]: embeddings [B, V, D]."""
        images, labels = batch["examples"], batch["ids"]
        embeddings = self.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return {"embeddings": self.scale_features(embeddings, labels), "labels": labels}

    def embedding_loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """The loss of a training step, from embeddings instead of images.

        Args:
            embeddings: [B, D], as `embed` returns them.
            labels: classes [B].
            **context: other arguments of `loss`.

        Returns:
            Scalar.
        """
        return self.loss(self.scale_features(embeddings, labels), labels, **context)

    def scale_features(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings times the factors of `feature_scaling`, in training mode.

        Args:
            embeddings: [B, D], or of several views [B, V, D].
            labels: classes [B], or soft labels [B, C].

        Returns:
            As `embeddings`; unchanged without feature scaling, and in evaluation mode.
        """
        if self.feature_scaling is None or not self.training:
            return embeddings
        if embeddings.ndim == 3:
            each = labels.repeat_interleave(embeddings.shape[1], 0)
            return self.scale_features(embeddings.flatten(0, 1), each).view_as(embeddings)
        return self.feature_scaling(embeddings, labels)

    def perturb_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Batch -> loss of the first pass of sharpness-aware optimizers, scalar.

        Default: the loss of the training step.
        """
        return self.training_step(batch)

    def forward(
        self,
        batch: dict[str, Tensor],
        *,
        perturb: bool = False,
        of_inputs: Callable[[dict[str, Tensor]], Tensor] | None = None,
    ) -> Tensor:
        """The same as `training_step`; a module's forward is what data-parallel wrappers wrap.

        Args:
            batch: see `training_step`.
            perturb: whether to return `perturb_loss` instead.
            of_inputs: returns instead this function of `loss_inputs`.
        """
        if of_inputs is not None:
            return of_inputs(self.loss_inputs(batch))
        return self.perturb_loss(batch) if perturb else self.training_step(batch)

    def freeze_backbone(self, *, statistics: bool) -> None:
        """Freezes the backbone, for a second stage of training.

        Args:
            statistics: whether it also stays in evaluation mode from now on, so that BatchNorm's
                running statistics are fixed; otherwise they are updated, as in some papers' code.
        """
        self.arch.requires_grad_(False)
        self.backbone_stays_in_eval = statistics
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a backbone frozen with its statistics stays in evaluation mode."""
        super().train(mode)
        if self.backbone_stays_in_eval:
            self.arch.eval()
        return self

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters without weight decay, in addition to vectors and scalars. Default: none."""
        return []

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their own learning rate. Default: none.

        Returns:
            Dicts with `params` and either `lr`, or `lr_factor`, which multiplies the learning rate
            of the run, up to `lr_at_most`; also `weight_decay` if it differs, and `lr_option`, the
            key of the factor on the command line.
        """
        return []

    def refuse_rates(self, learning_rate: float, *, adaptive: bool) -> None:  # noqa: B027
        """Refuses learning rates at which training is known to diverge. Default: none.

        Args:
            learning_rate: of the run.
            adaptive: whether a step of the optimizer is about as large as the learning rate in
                every coordinate, as of Adam; otherwise it is proportional to the gradient.

        Raises:
            ValueError: with the values to type.
        """

    def sharded_parameters(self) -> list[str]:
        """Names of the parameters with one row per class, which processes can divide among them.

        `loss` then works with those of `class_shard`, and the embeddings of the whole batch.

        Raises:
            ValueError: the loss needs all classes in every process.
        """
        raise ValueError(
            f"trainer.shard_classes=true: method={self.name} needs all classes in every process; "
            "use method=vmf_softmax, normalized_sce, arcface, unnormalized_sce, classifier or dml, "
            "or leave trainer.shard_classes=false"
        )

    @property
    def samples_classes(self) -> bool:
        """Whether `loss` can do with some of the classes of `class_shard`, see `ClassSampling`."""
        return False

    def all_class_weights(self) -> list[Tensor]:
        """Parameters that `class_weight_decay` is about. Default: `class_weights`, if any."""
        if self.class_parameters is not None:
            return [self.class_parameters.weight]
        return [] if self.class_weights is None else [self.class_weights]

    def param_groups(
        self, temp_learning_rate: float, class_weight_decay: str = "none"
    ) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: with or without weight decay, own learning rates.

        Args:
            temp_learning_rate: learning rate of tau, >= 0; tau has neither momentum nor decay.
            class_weight_decay: "none" (class weights have no weight decay, as their norm matters),
                "reference" (they have, as in 2021 due to a mistaken name), or "all" (also biases,
                scales and BatchNorm parameters, as without parameter groups).

        Returns:
            Groups that hold every trainable parameter exactly once; empty groups are left out.
        """
        tau = None if self.class_parameters is None else self.class_parameters.tau
        return parameter_groups(
            self,
            extra_groups=self.extra_param_groups(),
            undecayed=self.undecayed_parameters(),
            class_weights=self.all_class_weights(),
            tau=tau,
            temp_learning_rate=temp_learning_rate,
            class_weight_decay=class_weight_decay,
        )

    # checkpoints of 2021

    def from_reference_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads the weights of a 2021 checkpoint (its key `arch_state_dict`) in place.

        Raises:
            ValueError: the checkpoint lacks something that this method needs, or has other sizes.
        """
        state = checkpoint["arch_state_dict"]
        try:
            self.arch.load_state_dict(self.arch.from_reference_state(state))
        except (
            RuntimeError
        ) as error:  # what load_state_dict raises for missing names and other sizes
            raise ValueError(f"This checkpoint belongs to another arch: {error}") from error
        if self.class_parameters is not None:
            name = self.arch.reference_class_weights()
            vectors = torch.empty_like(self.class_parameters.weight)
            copy_reference(vectors, state, name)
            self.class_parameters.set_vectors(vectors)
            if self.class_parameters.tau is not None and "temp" in state:
                copy_reference(self.class_parameters.tau, state, "temp")
