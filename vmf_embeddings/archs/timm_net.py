"""Any backbone of the library timm by its name, with a linear projection to D dimensions.

Wightman 2019, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vmf_embeddings.archs import timm_library
from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence, embedding_layer
from vmf_embeddings.archs.lora import Lora, add_lora, with_lora_names
from vmf_embeddings.archs.net_inputs import NetInputs
from vmf_embeddings.archs.partial_freezing import freeze_before
from vmf_embeddings.archs.pooling import POOLS, pool_named
from vmf_embeddings.archs.timm_library import PREFIX
from vmf_embeddings.archs.weights import load_weights, read_state


class TimmNet(Arch):
    """Convolutional nets and transformers alike; `conf/arch/timm.yaml` documents the arguments."""

    def __init__(
        self,
        model: str,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        set_bn_eval: bool,
        weights: str | None,
        in_channels: int,
        pool: str,
        normalize: bool,
        options: Mapping[str, Any] | None = None,
        projection: str = "linear",
        frozen: bool = False,
        trainable_from: str | int | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize=normalize,
            set_bn_eval=set_bn_eval,
        )
        timm_library.library()
        if pool not in (*POOLS, "own"):
            raise ValueError(f"arch.params.pool must be own, {', '.join(POOLS)}, got {pool!r}.")
        _refuse_contradictions(frozen, trainable_from, lora)
        timm_library.refuse_unknown(model)
        if weights is not None and weights.startswith(PREFIX):
            timm_library.refuse_other_weights(model, weights.removeprefix(PREFIX))
        self.model = model
        self.weights = weights
        self.in_channels = in_channels
        self.options = dict(options or {})
        self.trunk = timm_library.created(model, in_channels, self.options)
        self.pool = None if pool == "own" else pool_named(pool)
        own_width = getattr(self.trunk, "head_hidden_size", None) or self.trunk.num_features
        self.n_features = own_width if self.pool is None else self.trunk.num_features
        self.projection = embedding_layer(projection, self.n_features, embedding_dim)
        self.lora = None if lora is None else Lora.from_params(lora)
        if self.lora is not None:
            add_lora(self.trunk, self.lora, f"timm's {model}")
        if trainable_from is not None:
            self.frozen_layers = tuple(freeze_before(self.trunk, trainable_from))
        if frozen:
            self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] -> pooled features [B, F].

        Raises:
            ValueError: the net needs images of another size, or has no feature maps to pool.
        """
        try:
            maps = self.trunk.forward_features(images)
        except AssertionError as error:  # transformers check the size of their images this way
            raise ValueError(
                f"timm's {self.model}: {error}. Say dataset.params.image_size=auto, or build the "
                f"net for these images: arch.params.options={{img_size: {images.shape[-1]}}}"
            ) from error
        if self.pool is None:
            return self.trunk.forward_head(maps, pre_logits=True)
        return self.pool(self._channels_first(maps)).flatten(1)

    def _channels_first(self, maps: Tensor) -> Tensor:
        """Last feature maps as [B, F, H, W]; some transformers return [B, H, W, F]."""
        if maps.ndim != 4:
            raise ValueError(
                f"timm's {self.model} ends in tokens {list(maps.shape[1:])}, not in maps; say "
                "arch.params.pool=own to let it pool them itself"
            )
        return maps if maps.shape[1] == self.n_features else maps.permute(0, 3, 1, 2)

    @classmethod
    def native_inputs(cls, params: Mapping[str, Any]) -> NetInputs | None:
        """Those of the weights that are named, or of timm's default ones of the architecture."""
        return timm_library.native_inputs(
            params["model"], params.get("weights"), params.get("options") or {}
        )

    def load_pretrained(self) -> None:
        """Loads `weights`: a file, or weights that timm downloads.

        Weights of images of another size are adapted to `options`, as timm does.

        Raises:
            FileNotFoundError: the file does not exist, or timm cannot download the weights.
            ValueError: the file does not hold this network.
        """
        if self.weights is None:
            return
        if self.weights.startswith(PREFIX):
            name = self.weights.removeprefix(PREFIX)
            net = timm_library.fetched(name, self.model, self.in_channels, self.options)
            state = net.state_dict()
        else:
            state = read_state(Path(self.weights))
            plain = self.trunk
            if self.lora is not None:
                plain = timm_library.created(self.model, self.in_channels, self.options)
            state = timm_library.adapted(state, plain, self.model)
        hint = f"The file must be a state dict of timm's {self.model}."
        named = with_lora_names(state, self.trunk)
        load_weights(self.trunk, named, name=self.model, source=self.weights, hint=hint)


def _refuse_contradictions(
    frozen: bool, trainable_from: str | int | None, lora: Mapping[str, Any] | None
) -> None:
    """Refuses more than one of the options that say which part of the backbone learns.

    Raises:
        ValueError: naming those that were given.
    """
    given = {"frozen=true": frozen, "trainable_from": trainable_from is not None}
    given["lora"] = lora is not None
    named = [f"arch.params.{key}" for key, is_given in given.items() if is_given]
    if len(named) > 1:
        raise ValueError(
            f"{' and '.join(named)} contradict one another: each says which part of the backbone "
            "learns; say one of them"
        )
