"""One line per record in log files, even if a logged text contains line breaks."""

import logging

from vmf_embeddings.untrusted.text import printable


class OneLineFormatter(logging.Formatter):
    """Escapes control characters, so that a text from a file cannot forge a log line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line of a record, without the traceback that may follow it."""
        record.message = printable(record.message)
        return super().formatMessage(record)
