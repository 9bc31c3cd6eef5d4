"""A user's mistake, found before work started."""

import contextlib
from collections.abc import Iterator

from vmf_embeddings.untrusted.refused import Refused


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns errors of building, such as a wrong value or a missing file, into `Refused`."""
    try:
        yield
    except Refused:
        raise
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise Refused(str(error)) from error
