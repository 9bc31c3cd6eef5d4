"""A user's mistake, found before work started."""

import contextlib
from collections.abc import Iterator

from vmf_embeddings.untrusted.refused import Refused


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns errors of building, such as a wrong value or a missing file, into `Refused`."""
    from hydra.errors import InstantiationException

    try:
        yield
    except Refused:
        raise
    except InstantiationException as error:
        raise Refused(str(error.__cause__ or error)) from error
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise Refused(str(error)) from error
