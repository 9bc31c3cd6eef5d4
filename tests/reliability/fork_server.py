"""Forks of a process that has imported the package, under conditions that go wrong.

A trial costs the time of the command alone, so that hundreds are tried in minutes.
"""

import ctypes
import gc
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path

from tests.commands.fork_server import LIBRARIES, end, run, wait_for

PACKAGE = (
    *("cli.app", "cli.commands", "cli.evaluate", "cli.check", "cli.summarize", "cli.assembly"),
    *("cli.assembly.jobs", "cli.second_stage", "training.fit", "training.posthoc", "extract"),
    *("datasets.folder", "datasets.csv_table", "evaluation.figures", "archs.n_digit_mnist"),
    *("methods.vmf_softmax", "methods.normalized_sce", "methods.classifier", "cli.trained_run"),
)
NEW_MOUNTS, READ_ONLY, REMOUNT, PRIVATE = 0x00020000, 1, 32, (1 << 18) | 16384


def main() -> None:
    """Answers each line of standard input, a request in JSON, with the exit code."""
    for library in LIBRARIES:
        importlib.import_module(library)
    for name in PACKAGE:
        importlib.import_module(f"vmf_embeddings.{name}")
    gc.freeze()  # as in the other server
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(request: dict) -> dict:
    """Runs one command in a fork; what it printed is read through pipes, which no disk limits."""
    output, errors = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(output[0])
        os.close(errors[0])
        os.dup2(output[1], 1)
        os.dup2(errors[1], 2)
        prepare(**request["conditions"])
        end(
            run(
                "vmf_embeddings", request["arguments"], request["cwd"], request["environment"],
                "/dev/fd/1", "/dev/fd/2",
            )
        )  # fmt: skip
    os.close(output[1])
    os.close(errors[1])
    texts = ["", ""]
    readers = [
        threading.Thread(target=read_all, args=(end, texts, n))
        for n, end in enumerate((output[0], errors[0]))
    ]
    for reader in readers:
        reader.start()
    began = time.monotonic()
    code = wait_for(child, request["kill_after"] or request["timeout"])
    for reader in readers:
        reader.join()
    seconds = time.monotonic() - began
    return {"code": code, "output": texts[0], "errors": texts[1], "seconds": seconds}


def read_all(descriptor: int, texts: list[str], n: int) -> None:
    """Puts what comes through a pipe into `texts[n]`."""
    with open(descriptor, errors="replace") as stream:
        texts[n] = stream.read()


def prepare(
    disk: dict | None = None, read_only: str | None = None, user: int | None = None
) -> None:
    """Makes the child's world go wrong.

    Args:
        disk: `{"folder": …, "bytes": …, "copy": …}`: a disk of that size in place of the folder,
            which holds a copy of `copy` if given, and is copied to `"keep"` afterwards.
        read_only: folder that nobody can write to.
        user: number of the user who types the command.
    """
    if disk is not None or read_only is not None:
        libc = ctypes.CDLL(None, use_errno=True)
        check(libc.unshare(NEW_MOUNTS))
        check(libc.mount(b"none", b"/", None, PRIVATE, None))
    if read_only is not None:
        folder = read_only.encode()
        check(libc.mount(folder, folder, None, 4096, None))
        check(libc.mount(folder, folder, None, 4096 | REMOUNT | READ_ONLY, None))
    if disk is not None:
        mount_disk(libc, **disk)
    if user is not None:
        os.fchown(1, user, user)  # they are opened again by their names
        os.fchown(2, user, user)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


def mount_disk(libc: ctypes.CDLL, folder: str, bytes: int, keep: str) -> None:  # noqa: A002
    """Mounts a disk of so many bytes with what the folder holds; copies it to `keep` at the end."""
    import atexit
    import shutil

    aside = Path(keep)
    shutil.copytree(folder, aside, symlinks=True)
    held = sum(4096 + (-(-f.stat().st_size // 4096)) * 4096 for f in Path(folder).rglob("*"))
    size = held + bytes
    check(libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size}".encode()))
    shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(aside)
    atexit.register(shutil.copytree, folder, aside, symlinks=True)


def check(result: int) -> None:
    """Raises where a system call failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
