"""Numbers of epochs for TensorBoard, written at once and in the thread that has them.

`torch.utils.tensorboard.SummaryWriter` writes in a thread of its own, which prints a traceback
where the disk is full, beside the error of the run.
"""

import io
import os
import socket
import time
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.full_disk import full_disk_error


class Board:
    """A file of events in a folder, as `SummaryWriter` would write it.

    Args:
        folder: created if it is not there.
        purge_step: what was written before for this step and later ones is not shown.

    Raises:
        OSError: with the file's name where the disk is full.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboard.compat.proto import event_pb2

        self._event = event_pb2.Event
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        number = 0  # a second run of this process in this second
        while (path := folder / f"{name}.{number}").exists():
            number += 1
        self.path = path
        self._stream = path.open("xb", buffering=0)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(
            event_pb2.Event(step=purge_step, file_version="brain.Event:2"),
            event_pb2.Event(step=purge_step, session_log=start),
        )

    def add(self, values: dict[str, float | int], step: int) -> None:
        """Writes numbers by their names; they are in the file afterwards."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(
            *(
                self._event(
                    step=step,
                    summary=Summary(value=[Summary.Value(tag=name, simple_value=float(value))]),
                )
                for name, value in values.items()
            )
        )

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def _write(self, *events: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = io.BytesIO()
        for event in events:
            event.wall_time = time.time()
            RecordWriter(records).write(event.SerializeToString())
        rest = memoryview(records.getvalue())
        try:
            while rest:  # what fits on the disk is written, then the rest is refused
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            if full_disk_error(error) is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self.path)) from error
