"""Runs `python -m module` in forks of one process that has imported the libraries before.

Importing torch, Hydra and the like takes seconds, and the tests run some hundred commands. The
package itself is never imported here, so that every command imports it anew.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from typing import NoReturn

LIBRARIES = (
    *("torch", "torch.distributed", "torch._dynamo", "accelerate", "hydra", "omegaconf", "yaml"),
    *("pandas", "sklearn.model_selection", "sklearn.datasets", "scipy.special", "PIL.Image"),
    *("matplotlib.pyplot", "rich.progress", "numba", "tensorboard.summary.writer.record_writer"),
)


def main() -> None:
    """Answers each line of standard input, a request in JSON, with the exit code."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a collection in a fork would touch, and so copy, every page of the libraries
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            end(run(**request))
        print(wait_for(child, request["timeout"]), flush=True)


def run(
    module: str,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    output: str,
    errors: str,
    **_: object,
) -> int | None:
    """Becomes the command, in its folder, with its environment and its streams."""
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, os.O_WRONLY),
        (2, errors, os.O_WRONLY),
    ):
        descriptor = os.open(path, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.path[:1] = [cwd, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int | None) -> NoReturn:
    """Ends a fork as the interpreter would, but for taking the libraries apart (1.4 s of work)."""
    threading._shutdown()  # threads that are no daemons end first
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def wait_for(child: int, seconds: float) -> int:
    """The exit code of a child; it is killed, with all that it started, when its time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
