"""The state of a run, in `status.json` of its folder; it also keeps a second process out."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmf_embeddings.training.interruption import Interrupted
from vmf_embeddings.untrusted.files import read_text, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused

NAME = "status.json"
STATES = ("queued", "running", "done", "failed", "interrupted")
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 120.0  # without a heartbeat, the process is gone
TEXT_LIMIT = 2**20  # bytes of the file


@dataclass(frozen=True)
class RunStatus:
    """What `status.json` says.

    Attributes:
        state: one of STATES.
        command: overrides of the run, as typed.
        configuration: hash of the configuration files of a job of a sweep: with the same files, it
            need not run again once it is done. Empty for other runs.
        host: name of the machine; empty while queued.
        pid: number of the process there; 0 while queued.
        epoch: the latest finished epoch, from 0; None before.
        metric: validation metric of the best epoch so far, a fraction; None before the first.
        nll: its validation NLL, nats; None without one.
        error: first line of the error of a failed run, else empty.
        started: time of the start in UTC, ISO 8601; empty while queued.
        seconds: from then until the file was written.
    """

    state: str
    command: tuple[str, ...] = field(default=())
    configuration: str = ""
    host: str = ""
    pid: int = 0
    epoch: int | None = None
    metric: float | None = None
    nll: float | None = None
    error: str = ""
    started: str = ""
    seconds: float = 0.0


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("state", "configuration", "host", "error", "started"), (str,)),
    **{"command": (list,), "pid": (int,), "epoch": (int, type(None))},
    **dict.fromkeys(("metric", "nll"), (int, float, type(None))),
    "seconds": (int, float),
}


def read(folder: Path) -> RunStatus | None:
    """The status of the run in a folder; None if there is none.

    Raises:
        Refused: the file is malformed.
    """
    path = folder / NAME
    try:
        values = parse_json_object(read_text(path, limit=TEXT_LIMIT), str(path))
    except FileNotFoundError:
        return None
    except Refused as error:
        raise Refused(f"{error}, so it is no status of a run: remove it") from error
    known = {key: values[key] for key in _KINDS if key in values}
    wrong = [key for key, value in known.items() if not isinstance(value, _KINDS[key])]
    texts = known.get("command", [])
    if known.get("state") not in STATES or wrong or not all(isinstance(t, str) for t in texts):
        raise Refused(f"{path} is no status of a run: remove it")
    return RunStatus(**{**known, "command": tuple(texts)})


def write(folder: Path, status: RunStatus) -> None:
    """Writes or replaces the status of the run in a folder, atomically."""
    with replacing(folder / NAME) as part:
        part.write_text(json.dumps({**asdict(status), "command": list(status.command)}) + "\n")


def is_alive(folder: Path, status: RunStatus) -> bool:
    """Whether a running status belongs to a process that still runs, as far as can be known.

    It does if its heartbeat is recent and, on this machine, there is a process of its number.
    """
    if status.state != "running":
        return False
    try:
        age = time.time() - (folder / NAME).stat().st_mtime
    except FileNotFoundError:
        return False
    return age < STALE_SECONDS and (status.host != socket.gethostname() or _exists(status.pid))


def outcome(folder: Path) -> tuple[str, str, RunStatus]:
    """State of a run in words, a note on it, and its status.

    A run is `failed`, too, if its process was killed without a word; `missing` without a status.

    A malformed `status.json` counts as failed, too.
    """
    try:
        status = read(folder)
    except Refused as error:
        return "failed", str(error), RunStatus("failed")
    if status is None:
        return "missing", "", RunStatus("queued")
    if status.state == "running":
        place = f"process {status.pid} on {status.host}"
        if not is_alive(folder, status):
            return "failed", f"killed: {place} is gone", status
        return "running", place, status
    return status.state, status.error, status


def note_epoch(folder: Path, epoch: int, best: Mapping[str, Any]) -> None:
    """Notes a finished epoch and the scores of the best one, if this process runs the run.

    Args:
        folder: of the run.
        epoch: the latest finished one, from 0.
        best: `valid_acc` of the best epoch, and `valid_nll` if it has one.
    """
    status = _read_own(folder)
    if status is not None and (status.state, status.pid) == ("running", os.getpid()):
        scores = {"metric": best["valid_acc"], "nll": best.get("valid_nll")}
        write(folder, replace(status, epoch=epoch, **scores, seconds=_seconds(status)))


class Recorder:
    """Takes the result of a run for its status.

    Attributes:
        metric: best validation metric, a fraction, or None.
    """

    metric: float | None = None


@contextmanager
def recorded(
    folder: Path, command: tuple[str, ...], describe: Callable[[Any], str]
) -> Iterator[Recorder]:
    """Inside, the run in a folder is `running`; afterwards it is done, failed or interrupted.

    A refused command leaves the status of a done or interrupted run as it was.

    Args:
        folder: of the run; it exists.
        command: overrides of the run, as typed.
        describe: from an exception to the line of the error.

    Raises:
        Refused: another process works in the folder.
    """
    former, own = read(folder), (socket.gethostname(), os.getpid())
    # containers have names of their own, and often the same numbers of processes
    if former is not None and (former.host, former.pid) != own and is_alive(folder, former):
        raise Refused(
            f"{folder} is being trained by process {former.pid} on {former.host} ({NAME}): wait "
            "for it, or add name=NAME for another folder. A process that was killed is noticed "
            f"after {STALE_SECONDS:.0f} s"
        )
    queued = former is not None and former.state == "queued" and former.command == command
    configuration = former.configuration if queued else ""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write(folder, RunStatus("running", command, configuration, *own, started=now))
    recorder = Recorder()
    try:
        with _heartbeat(folder / NAME):
            yield recorder
    except (KeyboardInterrupt, Interrupted):
        _end(folder, "interrupted")
        raise
    except BaseException as error:
        if former is not None and isinstance(error, Refused) and _is_as_before(folder, former):
            write(folder, former)
        else:
            _end(folder, "failed", error=describe(error))
        raise
    _end(folder, "done", metric=recorder.metric)


def _is_as_before(folder: Path, former: RunStatus) -> bool:
    """Whether a done or interrupted run got no further epoch since a status of it."""
    status = _read_own(folder)
    is_same = status is not None and status.epoch in (None, former.epoch)
    return former.state in ("done", "interrupted") and is_same


def _read_own(folder: Path) -> RunStatus | None:
    """The status of a run of this process; a file that was damaged meanwhile ends no training."""
    try:
        return read(folder)
    except Refused:
        return None


def _end(folder: Path, state: str, *, error: str = "", metric: float | None = None) -> None:
    status = _read_own(folder)
    if status is not None:
        metric = status.metric if metric is None else float(metric)
        seconds = _seconds(status)
        write(folder, replace(status, state=state, error=error, metric=metric, seconds=seconds))


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Inside, a thread renews the time of the file."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _seconds(status: RunStatus) -> float:
    """Seconds since the start of a run."""
    try:
        began = datetime.fromisoformat(status.started)
        return round((datetime.now(UTC) - began).total_seconds(), 1)
    except (ValueError, TypeError):
        return status.seconds


def _exists(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0
