"""Compiled: adding to an entry that other threads add to at the same time."""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array


@intrinsic
def atomic_add(context: Any, array: Any, index: Any, value: Any) -> tuple[Any, Callable]:
    """array[index] += value in one step, for arrays [N] of integers."""

    def write(context: Any, builder: Any, signature: Any, arguments: tuple) -> Any:
        array_type, _, value_type = signature.args
        array = make_array(array_type)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(
            context, builder, array_type, array, [arguments[1]], wraparound=False
        )
        added = context.cast(builder, arguments[2], value_type, array_type.dtype)
        builder.atomic_rmw("add", place, added, "monotonic")
        return context.get_dummy_value()

    return types.void(array, types.intp, value), write
