"""Which cases of a law run by default: a few that differ most; the others run with `-m slow`."""

from collections.abc import Callable, Iterable

import pytest

PARAM = type(pytest.param())  # a tuple too


def mostly_slow(cases: Iterable, quick: Iterable | Callable[[object], bool]) -> list:
    """Cases for `parametrize`, of which all but the quick ones are marked slow.

    Args:
        cases: in their order; a tuple has the values of several arguments.
        quick: the cases that run by default, or what tells whether a case does.

    Raises:
        ValueError: a quick case is none of the cases, or none of them is quick.
    """
    cases = list(cases)
    if not callable(quick):
        quick = list(quick)
        unknown = [case for case in quick if case not in cases]
        if unknown:
            raise ValueError(f"none of the cases: {unknown}")
    is_quick = quick if callable(quick) else quick.__contains__
    marked = [case if is_quick(case) else _slow(case) for case in cases]
    if not any(is_quick(case) for case in cases):
        raise ValueError("no case runs by default")
    return marked


def _slow(case: object) -> object:
    if isinstance(case, PARAM):  # marked already
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
