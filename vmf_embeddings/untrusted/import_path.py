"""Where Python looks for modules: not in the folder that a command happens to be typed in.

Imports nothing but what Python itself has loaded before: any other import could already be a
planted file.
"""

import os
import sys

_left: list[str] = []


def leave_working_directory() -> None:
    """Takes the working directory off `sys.path`, where `python -m` has put it first.

    A received folder may hold a `numpy.py`. It stays where this package itself was found in it:
    that is a checkout, whose files are the user's own.
    """
    if sys.flags.safe_path or not sys.path:
        return
    first = os.path.realpath(sys.path[0] or os.curdir)
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    if first == os.path.realpath(os.curdir) and first != checkout:
        del sys.path[0]
        _left.append(first)


def look_there_last() -> None:
    """Lets modules of the working directory be found again, after all that is installed.

    For a user's own modules that `VMF_ALLOW_TARGETS` names.
    """
    sys.path += [folder for folder in _left if folder not in sys.path]
