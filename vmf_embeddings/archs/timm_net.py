"""Any backbone of the library timm by its name, with a linear projection to D dimensions.

Wightman 2019, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

import difflib
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence
from vmf_embeddings.archs.pooling import POOLS, pool_named
from vmf_embeddings.archs.weights import load_weights, read_state

PREFIX = "timm:"


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
    ) -> None:
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize=normalize,
            set_bn_eval=set_bn_eval,
        )
        timm = _library()
        if pool not in (*POOLS, "own"):
            raise ValueError(f"arch.params.pool must be own, {', '.join(POOLS)}, got {pool!r}.")
        _refuse_unknown(timm, model)
        if weights is not None and weights.startswith(PREFIX):
            _refuse_other_weights(timm, model, weights.removeprefix(PREFIX))
        self.model = model
        self.weights = weights
        self.in_channels = in_channels
        self.trunk = timm.create_model(model, pretrained=False, num_classes=0, in_chans=in_channels)
        self.pool = None if pool == "own" else pool_named(pool)
        own_width = getattr(self.trunk, "head_hidden_size", None) or self.trunk.num_features
        self.n_features = own_width if self.pool is None else self.trunk.num_features
        self.projection = nn.Linear(self.n_features, embedding_dim)

    def features(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] -> pooled features [B, F].

        Raises:
            ValueError: the net needs images of another size, or has no feature maps to pool.
        """
        try:
            maps = self.trunk.forward_features(images)
        except AssertionError as error:  # transformers check the size of their images this way
            raise ValueError(f"timm's {self.model}: {error}") from error
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

    def load_pretrained(self) -> None:
        """Loads `weights`: a file, or weights that timm downloads.

        Raises:
            FileNotFoundError: the file does not exist, or timm cannot download the weights.
            ValueError: the file does not hold this network.
        """
        if self.weights is None:
            return
        if self.weights.startswith(PREFIX):
            state = _fetched(self.weights.removeprefix(PREFIX), self.in_channels)
        else:
            state = read_state(Path(self.weights))
        hint = f"The file must be a state dict of timm's {self.model}."
        load_weights(self.trunk, state, name=self.model, source=self.weights, hint=hint)


def _library() -> ModuleType:
    """The library timm.

    Raises:
        ValueError: it is not installed.
    """
    import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision

    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ValueError(
            "arch=timm needs the library timm, which is not installed: pip install timm (or this "
            "package with the extra [timm]). arch=resnet50 needs nothing more."
        ) from error
    return timm


def _refuse_unknown(timm: ModuleType, model: str) -> None:
    """Refuses names that timm does not list as architectures, without any download."""
    known = timm.list_models()
    if model in known:
        return
    close = difflib.get_close_matches(model, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if "." in model and model.split(".")[0] in known:
        hint = f"did you mean arch.params.model={model.split('.')[0]} with that as its weights? "
    raise ValueError(
        f"arch.params.model={model}: timm {timm.__version__} has no such architecture; {hint}"
        f"It has {len(known)}: python -c 'import vmf_embeddings.torchvision_compat, timm; "
        "print(timm.list_models())'. Weights are "
        f"named by arch.params.weights={PREFIX}NAME"
    )


def _refuse_other_weights(timm: ModuleType, model: str, name: str) -> None:
    known = timm.list_pretrained(f"{model}.*")
    if name not in known:
        raise ValueError(
            f"arch.params.weights={PREFIX}{name}: timm {timm.__version__} knows no such weights of "
            f"{model}; it knows {', '.join(known) or 'none'}"
        )


def _fetched(name: str, in_channels: int) -> dict[str, Tensor]:
    """Weights that timm downloads by their name, or has in its cache."""
    try:
        net = _library().create_model(name, pretrained=True, num_classes=0, in_chans=in_channels)
    except Exception as error:  # of whichever library timm downloads with
        raise FileNotFoundError(
            f"arch.params.weights={PREFIX}{name}: timm can neither find these weights in its cache "
            f"nor download them ({type(error).__name__}: {error}). Fetch them on a machine with "
            "network and say arch.params.weights=PATH."
        ) from error
    return net.state_dict()
