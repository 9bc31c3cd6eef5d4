"""Any loss of pytorch-metric-learning, given by the name of its class, with miners and distances.

Musgrave, Belongie, Lim 2020, "PyTorch Metric Learning", https://arxiv.org/abs/2008.09164. The
library is an optional dependency and is imported when the method is built.
"""

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Cosine, Euclidean, Geometry
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.pml_numbers import KEY, PlainNumbers, warn_of_older_memory
from vmf_embeddings.methods.pml_trial import refuse_by_name, refuse_what_fails
from vmf_embeddings.methods.precision import full_precision

LIBRARY = "pytorch_metric_learning"
MODULES = ("losses", "miners", "distances", "regularizers", "reducers")
GEOMETRIES = ("auto", "cosine", "euclidean")
Spec = str | dict[str, Any] | None


class PML(Method):
    """A loss of pytorch-metric-learning; `conf/method/pml.yaml` documents the parameters.

    Args:
        arch: the backbone.
        loss: name of a class, or `{class: name, argument: value}`; values may have this form too.
        miner: likewise a class of `miners`; None = the whole batch.
        distance: likewise a class of `distances`, for loss and miner; None = their defaults.
        regularizer: likewise a class of `regularizers`, on the embeddings; None = none.
        reducer: likewise a class of `reducers`, of the loss; None = its default.
        lr_factor: learning rate of the loss's parameters over that of the run, >= 0.
        geometry: how embeddings are compared: "cosine", "euclidean", or "auto" = cosine if the loss
            normalises the embeddings.
    """

    needs_global_batch = True

    def __init__(
        self,
        arch: Arch,
        loss: Spec,
        miner: Spec,
        distance: Spec,
        regularizer: Spec,
        reducer: Spec,
        lr_factor: float,
        geometry: str,
    ) -> None:
        super().__init__(arch)
        if loss is None:
            raise ValueError(
                "method.params.loss: expected a class such as ProxyAnchorLoss, got null."
            )
        if not lr_factor >= 0:
            raise ValueError(f"method.params.lr_factor must be >= 0, got {lr_factor}.")
        if geometry not in GEOMETRIES:
            raise ValueError(
                f"method.params.geometry is one of {', '.join(GEOMETRIES)}; got {geometry!r}."
            )
        sizes = dict.fromkeys(("embedding_size", "descriptors_dim"), arch.class_spec.embedding_dim)
        sizes["num_classes"] = known_classes(arch.class_spec)
        build = Builder(sizes)
        extras = {"distance": distance, "embedding_regularizer": regularizer, "reducer": reducer}
        self.objective = build("losses", loss, **extras)
        self.miner = build("miners", miner, distance=distance)
        refuse_what_fails(self.objective, self.miner, sizes, self.max_batch_size)
        parts = {"objective": self.objective, "miner": self.miner}
        self._numbers = PlainNumbers({k: part for k, part in parts.items() if part is not None})
        self.lr_factor = lr_factor
        self._geometry = {"cosine": Cosine(), "euclidean": Euclidean()}.get(
            geometry, geometry_of(self.objective)
        )

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> the library's loss, scalar."""
        if torch.compiler.is_compiling():  # the library chooses pairs by their values
            return torch.compiler.disable(self._mined_loss)(embeddings, labels)
        return self._mined_loss(embeddings, labels)

    def _mined_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        mined = None if self.miner is None else self.miner(embeddings.detach(), labels)
        return self.objective(embeddings, labels, mined)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits of the loss [B, C]; None if it has none."""
        if not self.has_logits:
            return None
        logits = self.objective.get_logits(embeddings)
        return logits if self.objective.distance.is_inverted else -logits

    @property
    def max_batch_size(self) -> int | None:
        """The size of the smallest memory of earlier batches in the loss; None without one."""
        sizes = [m.memory_size for m in self.objective.modules() if hasattr(m, "memory_size")]
        return min(sizes, default=None)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep: bool) -> None:
        """Adds the library's plain numbers, such as the position of a queue."""
        super()._save_to_state_dict(destination, prefix, keep)
        for path, value in self._numbers.state().items():
            destination[f"{prefix}{KEY}{path}"] = value

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Takes the plain numbers out of the state and sets them."""
        begin = f"{prefix}{KEY}"
        stored = {key: state.pop(key) for key in list(state) if key.startswith(begin)}
        warn_of_older_memory(state, bool(stored))
        self._numbers.load({key.removeprefix(begin): x for key, x in stored.items()})
        super()._load_from_state_dict(state, prefix, *rest)

    @property
    def has_logits(self) -> bool:
        """Whether the loss has class weights and gives logits."""
        return hasattr(self.objective, "get_logits")

    @property
    def geometry(self) -> Geometry:
        """The chosen geometry; with "auto", cosine if the loss normalises the embeddings."""
        return self._geometry

    @property
    def class_weights(self) -> Tensor | None:
        """Proxies of the loss, or its transposed W, [C, D]; None if it has neither."""
        size = (known_classes(self.arch.class_spec), self.arch.class_spec.embedding_dim)
        proxies, matrix = (getattr(self.objective, name, None) for name in ("proxies", "W"))
        found = proxies if matrix is None else matrix.T
        return found if isinstance(found, Tensor) and tuple(found.shape) == size else None

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the loss's parameters, `lr_factor` times the learning rate, no decay."""
        parameters = list(self.objective.parameters())
        group = {"params": parameters, "lr_factor": self.lr_factor, "weight_decay": 0.0}
        return [group] if parameters else []


def geometry_of(loss: nn.Module) -> Geometry:
    """Cosine if a loss normalises the embeddings it compares, otherwise Euclidean."""
    distance = getattr(loss, "distance", None)
    return Cosine() if getattr(distance, "normalize_embeddings", True) else Euclidean()


class Builder:
    """Builds objects of the library from names and arguments.

    Args:
        sizes: `num_classes` and `embedding_size`, for constructors that require them.

    Raises:
        ValueError: the library is not installed, has no such class, or rejects an argument.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        try:
            self.modules = {name: importlib.import_module(f"{LIBRARY}.{name}") for name in MODULES}
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != LIBRARY:
                raise
            raise ValueError(
                "method=pml needs pytorch-metric-learning, which is not installed: "
                "pip install 'pytorch-metric-learning>=2.8,<3'"
            ) from error

    def __call__(self, place: str, spec: Spec, **extras: Spec) -> nn.Module | None:
        """The object that `spec` describes, of the module `place` of the library.

        Args:
            place: one of `MODULES`.
            spec: name of a class, or `{class: name, argument: value}`; None gives None.
            **extras: specs of further arguments; those in `spec` take precedence.
        """
        if spec is None:
            return None
        name, arguments = self._read(place, spec)
        target = self._find(place, name)
        refuse_by_name(name)
        given = {key: value for key, value in extras.items() if value is not None}
        arguments = {k: self._value(k, v) for k, v in (given | arguments).items()}
        if place == "reducers" and isinstance(arguments.get("weights"), list):
            arguments["weights"] = torch.tensor(arguments["weights"], dtype=torch.float32)
        try:
            return target(**self._sizes_for(target, arguments), **arguments)
        except Exception as error:  # the library raises plain Exception too
            words = str(error) or f"it rejects the arguments {', '.join(arguments) or '(none)'}"
            raise ValueError(f"{name} of pytorch-metric-learning: {words}") from error

    def _read(self, place: str, spec: Spec) -> tuple[str, dict[str, Any]]:
        if isinstance(spec, str):
            return spec, {}
        if isinstance(spec, dict) and isinstance(spec.get("class"), str):
            return spec["class"], {k: v for k, v in spec.items() if k != "class"}
        raise ValueError(
            f"method.params ({place}): expected the name of a class or {{class: name, argument: "
            f"value}}, got {spec!r}."
        )

    def _find(self, place: str, name: str) -> type[nn.Module]:
        known = classes(self.modules[place])
        if name in known:
            return known[name]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        guess = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}."
        raise ValueError(f"pytorch-metric-learning has no {name!r} among its {place}; {guess}")

    def _value(self, key: str, value: Any) -> Any:
        """Value of an argument, built if it is a spec or a list of specs."""
        if key == INITIALIZER:
            return self._initializer(value)
        if isinstance(value, list):
            return [self._value(key, each) for each in value]
        if key in ("losses", "reducers") and isinstance(value, dict) and "class" not in value:
            return {name: self._value(key, each) for name, each in value.items()}
        place = next(
            (
                p
                for argument, p in _MODULE_OF.items()
                if key == argument or key.endswith(f"_{argument}")
            ),
            None,
        )
        if isinstance(value, dict) and "class" in value and place is None:
            place = next(
                (p for p in MODULES if value["class"] in classes(self.modules[p])), "losses"
            )
        if place is None or not isinstance(value, str | dict):
            return value
        return self(place, value)

    def _initializer(self, spec: Spec) -> Callable[[Tensor], None] | None:
        """The function of `torch.nn.init` that `spec` names, with its arguments.

        Args:
            spec: name such as `xavier_uniform_`, or `{class: name, argument: value}`; None = the
                default of the loss.
        """
        if spec is None:
            return None
        name, arguments = self._read(INITIALIZER, spec)
        known = [n for n in dir(nn.init) if n.endswith("_") and not n.startswith("_")]
        if name not in known:
            raise ValueError(
                f"{INITIALIZER} is a function of torch.nn.init, one of {', '.join(known)}; got "
                f"{name!r}."
            )
        return functools.partial(getattr(nn.init, name), **arguments)

    def _sizes_for(self, target: type, arguments: dict[str, Any]) -> dict[str, int]:
        """Sizes that a constructor requires and that `arguments` does not contain."""
        required = _required(target)
        return {k: v for k, v in self.sizes.items() if k in required and k not in arguments}


INITIALIZER = "weight_init_func"  # argument that takes a function

# arguments of the library that take one of its objects -> module of that object
_MODULE_OF = {
    "loss": "losses",
    "losses": "losses",
    "miner": "miners",
    "miners": "miners",
    "distance": "distances",
    "regularizer": "regularizers",
    "reducer": "reducers",
    "reducers": "reducers",
}


@functools.cache  # a configuration may name hundreds of classes
def classes(module: Any) -> dict[str, type[nn.Module]]:
    """The nn.Module classes of a module of the library, by name."""
    found = inspect.getmembers(module, inspect.isclass)
    return {name: cls for name, cls in found if issubclass(cls, nn.Module)}


def _required(target: type) -> set[str]:
    """Arguments without default of a class and of the bases that its `**kwargs` go to."""
    found: set[str] = set()
    for each in target.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(each.__init__).parameters.values()
        found |= {p.name for p in parameters if p.default is p.empty}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found
