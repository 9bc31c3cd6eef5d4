"""Stand-ins for the functions and classes of torch that pickles of weights call.

They compare what they are called with to the bytes that there are, and take no memory.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from vmf_embeddings.untrusted.refused import Refused

MOST_AXES = 64  # of a tensor, as in torch

ITEM_SIZES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexDoubleStorage": 16, "ComplexFloatStorage": 8,
}  # fmt: skip


def expect(holds: object, what: str) -> None:
    """Refuses arguments that torch.save never writes.

    Raises:
        Refused: `holds` is false.
    """
    if not holds:
        raise Refused(f"it makes {what} from something that torch never writes for one")


class StandIn:
    """Stands for something of torch; refuses that a pickle changes it after making it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """What a pickle's instruction BUILD calls.

        Raises:
            Refused: always.
        """
        raise Refused(f"it changes what stands for a {type(self).__name__} after making it")


class Function(StandIn):
    """A function that checks its arguments."""

    __slots__ = ("check",)

    def __init__(self, check: Callable[..., object]) -> None:
        self.check = check

    def __call__(self, *values: object) -> object:
        """What a pickle's instruction REDUCE calls."""
        return self.check(*values)


class Ordered(OrderedDict):
    """An OrderedDict, which a pickle may give the versions of modules, and nothing else."""

    metadata: object = None

    def __setstate__(self, state: object) -> None:
        """Takes {"_metadata": module -> name -> number}.

        Raises:
            Refused: it is something else.
        """
        expect(type(state) is dict and state.keys() == {"_metadata"}, "a state dict")
        metadata = state["_metadata"]
        expect(type(metadata) in (dict, Ordered), "a state dict")
        for notes in metadata.values():
            expect(type(notes) is dict, "a state dict")
            expect(all(isinstance(note, int | None) for note in notes.values()), "a state dict")
        self.metadata = metadata


class StorageType(StandIn):
    """The type of a storage, by the bytes of one item."""

    __slots__ = ("item_size",)

    def __init__(self, item_size: int) -> None:
        self.item_size = item_size


class Storage(StandIn):
    """A storage, by the bytes of one item and the number of items."""

    __slots__ = ("item_size", "n_items")

    def __init__(self, item_size: int, n_items: int) -> None:
        self.item_size, self.n_items = item_size, n_items


class Tensor(StandIn):
    """A tensor."""

    __slots__ = ()


class OldParameter(Tensor):
    """A parameter as written before 2018: requires_grad and hooks are put in afterwards."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Takes (requires_grad, volatile, hooks).

        Raises:
            Refused: it is something else, or there are hooks.
        """
        expect(isinstance(state, tuple) and len(state) == 3, "a parameter")
        expect(isinstance(state[0], bool) and isinstance(state[1], bool), "a parameter")
        _refuse_hooks(state[2])


def storage(claim: object, *, legacy: bool) -> tuple[str, Storage]:
    """A storage from what a pickle says of it.

    Args:
        claim: ("storage", its type, key, location, number of items), in torch's old format also
            what it is a view of, which is None.
        legacy: whether the file has torch's old format.

    Returns:
        Its key and its stand-in.

    Raises:
        Refused: it is described in another way.
    """
    expect(isinstance(claim, tuple) and len(claim) == (6 if legacy else 5), "a storage")
    name, kind, key, location, n_items, *view = claim
    expect(name == "storage" and view in ([], [None]), "a storage")
    expect(isinstance(kind, StorageType) and isinstance(key, str), "a storage")
    expect(isinstance(location, str) and _is_count(n_items), "a storage")
    return key, Storage(kind.item_size, n_items)


def tensor(
    limit: int,
    of: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    """A tensor that lies within its storage and is no larger than the file.

    Args:
        limit: bytes of the file; a tensor of strides 0 can have any size otherwise.
        of: its storage.
        offset: of its first item in the storage.
        shape: of the tensor.
        strides: items from one to the next along each axis.
        requires_grad: true or false.
        hooks: none.
        metadata: none.

    Raises:
        Refused: it does not, or something else is asked for.
    """
    expect(isinstance(of, Storage) and _is_count(offset), "a tensor")
    expect(_are_counts(shape) and _are_counts(strides) and len(shape) == len(strides), "a tensor")
    expect(isinstance(requires_grad, bool) and not metadata, "a tensor")
    _refuse_hooks(hooks)
    n_items = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if n_items and (last >= of.n_items or n_items * of.item_size > limit):
        raise Refused(
            f"a tensor claims shape {list(shape)[:8]} and strides {list(strides)[:8]}, and its "
            f"storage has {of.n_items} numbers"
        )
    return Tensor()


def parameter(data: object, requires_grad: object, hooks: object) -> Tensor:
    """A parameter.

    Raises:
        Refused: it has hooks, or is none.
    """
    expect(isinstance(data, Tensor) and isinstance(requires_grad, bool), "a parameter")
    _refuse_hooks(hooks)
    return Tensor()


def old_parameter(data: object, requires_grad: object = True) -> OldParameter:
    """A parameter as written before 2018.

    Raises:
        Refused: it is none.
    """
    expect(isinstance(data, Tensor) and isinstance(requires_grad, bool), "a parameter")
    return OldParameter()


def _refuse_hooks(hooks: object) -> None:
    expect(hooks is None or (type(hooks) is Ordered and not hooks), "hooks of gradients")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _are_counts(values: object) -> bool:
    return type(values) is tuple and len(values) <= MOST_AXES and all(map(_is_count, values))
