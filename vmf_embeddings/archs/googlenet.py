"""GoogLeNet of torchvision, with BatchNorm, and a linear projection to D dimensions.

Szegedy et al. 2015, "Going Deeper with Convolutions", https://arxiv.org/abs/1409.4842.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence, embedding_layer
from vmf_embeddings.archs.net_inputs import NetInputs
from vmf_embeddings.archs.pooling import pool_named
from vmf_embeddings.archs.resnet import remove_classifier
from vmf_embeddings.archs.weights import imagenet_state, load_weights, read_state


class GoogLeNet(Arch):
    """Nine inception blocks, 1024 features; `conf/arch/googlenet.yaml` documents the arguments.

    Without the auxiliary classifiers. Images are normalised with the mean and standard deviation of
    ImageNet; the net maps them to [-1, 1], with which torchvision's weights were trained.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        set_bn_eval: bool,
        pretrained: bool,
        weights: str | None,
        pool: str,
        normalize: bool,
        projection: str = "linear",
        frozen: bool = False,
    ) -> None:
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize=normalize,
            set_bn_eval=set_bn_eval,
        )
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - must come before torchvision
        from torchvision.models import googlenet

        self.pretrained = pretrained
        self.weights = weights
        self.trunk = googlenet(
            weights=None, aux_logits=False, transform_input=True, init_weights=True
        )
        self.trunk.avgpool = pool_named(pool)
        self.trunk.dropout = nn.Identity()
        self.n_features = remove_classifier(self.trunk)
        self.projection = embedding_layer(projection, self.n_features, embedding_dim)
        if frozen:
            self.freeze()

    @classmethod
    def native_inputs(cls, params: Mapping[str, Any]) -> NetInputs:
        """ImageNet's, which the net maps to those of its weights itself."""
        return NetInputs()

    def features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] of about 32 pixels or more -> pooled features [B, 1024], >= 0."""
        return self.trunk(images)

    def load_pretrained(self) -> None:
        """Loads `weights` (a torchvision state dict) if given, else ImageNet's if `pretrained`.

        Raises:
            FileNotFoundError: the file does not exist, or ImageNet's weights cannot be downloaded.
            ValueError: the file does not hold this network.
        """
        if self.weights is not None:
            state, source = read_state(Path(self.weights)), self.weights
        elif self.pretrained:
            state, source = imagenet_state("googlenet"), "torchvision's ImageNet weights"
        else:
            return
        hint = "Use torchvision's file."
        load_weights(self.trunk, state, name="googlenet", source=source, hint=hint)
