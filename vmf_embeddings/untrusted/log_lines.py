"""Log files hold one line a record, whatever text from files stands in it."""

import logging

from vmf_embeddings.untrusted.text import printable


class OneLineFormatter(logging.Formatter):
    """Writes control characters as their escape sequences: no value of a file makes a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line of a record, without the trace that may follow it."""
        record.message = printable(record.message)
        return super().formatMessage(record)
