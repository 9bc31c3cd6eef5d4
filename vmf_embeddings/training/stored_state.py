"""Checks of a checkpoint's content by key, and loading of its parts with clear errors."""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import META, MOST_CLASSES, Kind, check_record
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

MAX_TEXT_LENGTH = 200  # characters of an identity or of a split's name
RESUME_KEYS = (
    *("config", "epoch", "best_epoch", "method_state_dict"),
    *("optimizer_state_dict", "scheduler_state_dict", "sampler_state_dict"),
)
# what `load_state_dict` raises for a state of another object
LOADING_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError)


def _is_number(value: Any) -> bool:
    """Whether it is one number; checkpoints of 2021 hold tensors with one element too."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    too_large = isinstance(value, Integral) and abs(value) >= 2**63  # for a float
    return isinstance(value, Real) and not isinstance(value, bool) and not too_large


def _is_epoch(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and -1 <= value < 2**53


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH and printable(value) == value


def _is_class_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_CLASSES


def _is_best_epoch(value: Any) -> bool:
    if not isinstance(value, dict) or not all(map(_is_text, value)):
        return False
    return _is_epoch(value.get("epoch", -1)) and all(map(_is_number, value.values()))


def _is_weights(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    return all(isinstance(tensor, Tensor) for tensor in value.values())


def _is_optimizer(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        return False
    groups = value.get("param_groups")
    return isinstance(groups, list) and all(isinstance(group, dict) for group in groups)


_NUMBER = Kind("a number", _is_number)
_TEXT = Kind(f"a text of at most {MAX_TEXT_LENGTH} characters", _is_text)
_WEIGHTS = Kind("names and tensors", _is_weights)
_VALUES = Kind("names and values", lambda value: isinstance(value, dict))
KINDS = {
    "epoch": Kind("a whole number, 0 or more, or -1 before the first", _is_epoch),
    "best_epoch": Kind("the number of an epoch, and its scores by name", _is_best_epoch),
    "selected_on": _TEXT,
    "selected_by": _TEXT,
    "train_identity": _TEXT,
    "config": Kind("a text", lambda value: isinstance(value, str)),
    "arch_state_dict": _WEIGHTS,
    "method_state_dict": _WEIGHTS,
    "optimizer_state_dict": Kind("the state of an optimizer", _is_optimizer),
    "scheduler_state_dict": _VALUES,
    "sampler_state_dict": _VALUES,
    "class_parts": _VALUES,  # checked by `class_parts.joined`
    "inside_epoch": _VALUES,  # checked by `mid_epoch.EpochSaver.begin`
    **dict.fromkeys(("z_kappa_mult", "z_mult"), _NUMBER),
    "n_classes": Kind(f"a whole number from 1 to {MOST_CLASSES}", _is_class_count),
    "class_names": META["class_names"],
    "image_transform": _VALUES,  # checked where it is used, by `ImageTransform.from_meta`
}


def checked(state: Any, source: str) -> dict[str, Any]:
    """Checks the types of a checkpoint's known keys; other keys are not checked.

    Args:
        state: content of a checkpoint file.
        source: the file's name, for messages.

    Returns:
        `state`.

    Raises:
        Refused: it is no checkpoint; names the key, what was expected and what came.
    """
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise Refused(f"{source} is no checkpoint: it holds a {type(state).__name__}, not keys")
    try:
        check_record(state, KINDS, source)
    except ValueError as error:
        raise Refused(str(error)) from error
    if state.get("config") is not None:
        parse_json_object(state["config"], f"the configuration in {source}")
    return state


def refuse_missing(state: Mapping[str, Any], keys: tuple[str, ...], source: str) -> None:
    """Refuses a checkpoint that lacks one of `keys`, or in which it is None.

    Raises:
        Refused: names the missing keys.
    """
    missing = [key for key in keys if state.get(key) is None]
    if missing:
        raise Refused(
            f"{source} lacks {', '.join(missing)}: it is no checkpoint of this program, or of a "
            "part of a run only"
        )


def load_weights(method: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads the weights of a checkpoint, written by this code or by that of 2021, into a method.

    Args:
        method: built from the configuration of the checkpoint's run.
        state: the checkpoint.
        source: where it comes from, for messages.

    Raises:
        Refused: it holds the weights of another network, or none.
    """
    if state.get("method_state_dict") is None:
        refuse_missing(state, ("arch_state_dict",), source)

    def load() -> None:
        if state.get("method_state_dict") is None:
            method.from_reference_checkpoint(state)
        else:
            method.load_state_dict(state["method_state_dict"])

    restore_part(
        load, f"the weights in {source} do not fit the network that its configuration describes"
    )


def restore_part(load: Callable[[], None], message: str) -> None:
    """Calls `load`, and turns the errors of a state that does not fit into `Refused`.

    Args:
        load: loads a stored state into an object.
        message: what does not fit; the text of the error is appended.

    Raises:
        Refused: `load` raised one of `LOADING_ERRORS`.
    """
    try:
        load()
    except LOADING_ERRORS as error:
        raise Refused(f"{message}: {printable(str(error)[:500])}") from error


def refuse_other_types(stored: Mapping[str, Any], now: Mapping[str, Any], message: str) -> None:
    """Refuses a stored state whose values have other types than those of the object today.

    Args:
        stored: name -> value; names that the object does not have are ignored.
        now: name -> value; None matches any type, and a stored None any type but a number.
        message: what does not fit.

    Raises:
        Refused: names the first value of another type.
    """
    for name in sorted(stored.keys() & now.keys()):
        then, today = _type_name(stored[name]), _type_name(now[name])
        if then is None and today == "number":
            raise Refused(f"{message}: the stored {name} is null, expected a number")
        if None not in (then, today) and then != today:
            raise Refused(f"{message}: the stored {name} is a {then}, expected a {today}")


def _type_name(value: Any) -> str | None:
    """`number`, `text`, `list`, `dict`, or the name of the value's class; None for None."""
    if value is None:
        return None
    kinds = {"number": Real, "text": str, "list": list | tuple, "dict": dict}
    found = [name for name, kind in kinds.items() if isinstance(value, kind)]
    return found[0] if found else type(value).__name__
