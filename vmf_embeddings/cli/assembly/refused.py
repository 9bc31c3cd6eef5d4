"""Turns errors of building into `Refused`: a user's mistake, found before work starts."""

import contextlib
from collections.abc import Iterator

from vmf_embeddings.untrusted.refused import Refused


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Inside, errors such as a wrong value or a missing file are raised as `Refused`."""
    try:
        yield
    except Refused:
        raise
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise Refused(str(error)) from error
