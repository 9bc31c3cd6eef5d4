"""What a checkpoint must hold, by its keys; whoever reads one then meets no surprises."""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import Kind, check_record
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

LONGEST_TEXT = 200  # characters of an identity or of a split's name
TO_GO_ON = (
    *("config", "best_epoch", "method_state_dict"),
    *("optimizer_state_dict", "scheduler_state_dict", "sampler_state_dict"),
)
DOES_NOT_FIT = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError)


def _is_number(value: Any) -> bool:
    """Whether it is one number; checkpoints of 2021 hold such tensors too."""
    one = isinstance(value, Tensor) and value.numel() == 1
    return one or (isinstance(value, Real) and not isinstance(value, bool))


def _is_epoch(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and -1 <= value < 2**53


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and printable(value) == value


def _is_best(value: Any) -> bool:
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
_TEXT = Kind(f"a text of at most {LONGEST_TEXT} characters", _is_text)
_WEIGHTS = Kind("names and tensors", _is_weights)
_VALUES = Kind("names and values", lambda value: isinstance(value, dict))
KINDS = {
    "epoch": Kind("a whole number, 0 or more", lambda value: _is_epoch(value) and value >= 0),
    "best_epoch": Kind("the number of an epoch, and its scores by name", _is_best),
    "selected_on": _TEXT,
    "train_identity": _TEXT,
    "config": Kind("a text", lambda value: isinstance(value, str)),
    "arch_state_dict": _WEIGHTS,
    "method_state_dict": _WEIGHTS,
    "optimizer_state_dict": Kind("the state of an optimizer", _is_optimizer),
    "scheduler_state_dict": _VALUES,
    "sampler_state_dict": _VALUES,
    **dict.fromkeys(("z_kappa_mult", "z_mult"), _NUMBER),
}


def checked(state: Any, source: str) -> dict[str, Any]:
    """A checkpoint whose known keys hold what they should; other keys are let be.

    Args:
        state: what a file of weights holds.
        source: the file's name, for messages.

    Returns:
        `state`.

    Raises:
        Refused: it is no checkpoint, naming the key, what was expected and what came.
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
    """Makes sure that a checkpoint has some keys.

    Raises:
        Refused: naming those that it lacks.
    """
    missing = [key for key in keys if state.get(key) is None]
    if missing:
        raise Refused(
            f"{source} lacks {', '.join(missing)}: it is no checkpoint of this program, or of a "
            "part of a run only"
        )


def give_weights(method: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Puts a checkpoint's weights into a method, by today's code or of 2021.

    Args:
        method: built as for the run's training.
        state: the checkpoint.
        source: where it comes from, for messages.

    Raises:
        Refused: it holds the weights of another network, or none.
    """
    if state.get("method_state_dict") is None:
        refuse_missing(state, ("arch_state_dict",), source)

    def put_in() -> None:
        if state.get("method_state_dict") is None:
            method.from_reference_checkpoint(state)
        else:
            method.load_state_dict(state["method_state_dict"])

    restore_part(
        put_in, f"the weights in {source} do not fit the network that its configuration describes"
    )


def restore_part(put_in: Callable[[], None], complaint: str) -> None:
    """Restores a part from a stored state.

    Args:
        put_in: what does so.
        complaint: what to say where the state is not that of such a part.

    Raises:
        Refused: the complaint, and what the part raised.
    """
    try:
        put_in()
    except DOES_NOT_FIT as error:
        raise Refused(f"{complaint}: {printable(str(error)[:500])}") from error


def refuse_other_kinds(stored: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Makes sure that stored values are of the kinds that the part has today, such as numbers.

    Args:
        stored: name -> value; names that the part does not have are let be.
        now: name -> value; None stands for any kind.
        what: the part, for the message.

    Raises:
        Refused: naming the first that is of another kind.
    """
    for name in sorted(stored.keys() & now.keys()):
        then, today = _kind(stored[name]), _kind(now[name])
        if None not in (then, today) and then != today:
            raise Refused(f"{what}: the stored {name} is a {then}, expected a {today}")


def _kind(value: Any) -> str | None:
    """What a value is in words; None for None."""
    if value is None:
        return None
    kinds = {"number": Real, "text": str, "list": list | tuple, "dict": dict}
    found = [name for name, kind in kinds.items() if isinstance(value, kind)]
    return found[0] if found else type(value).__name__
