"""What a command does about errors: a message on standard error, and the exit code."""

import sys
from collections.abc import Callable

from vmf_embeddings.cli.failures import explained
from vmf_embeddings.untrusted.text import printable


def exit_code(command: str, work: Callable[[], int | None], *, smaller: str = "") -> int:
    """Runs a command.

    Args:
        command: its name, for messages.
        work: raises `ValueError`, `OSError` or `ImportError` for what a user can mend; its result
            is an exit code, None for 0.
        smaller: what to type where memory is short.

    Returns:
        That of `work`; 1 for a failure of the machine or of the outcome, 2 for a user's mistake,
        130 where it was interrupted. In the last three cases nothing was written.
    """
    try:
        return work() or 0
    except KeyboardInterrupt:
        print(f"{command}: interrupted; nothing was written", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError) as error:
        machine = explained(error)
        print(f"{command}: {lines(machine or error)}", file=sys.stderr)
        return 1 if machine else 2
    except RuntimeError as error:
        hint = f" ({smaller})" if smaller and "out of memory" in str(error).lower() else ""
        print(f"{command}: {lines(error)[:500]}{hint}", file=sys.stderr)
        return 1


def lines(text: object) -> str:
    """A message whose control characters, but for newlines, are written out."""
    return "\n".join(map(printable, str(text).split("\n")))
