"""The error for what a command cannot work with."""


class Refused(ValueError):
    """A user's mistake, or a file that is not what it should be; commands end with exit code 2."""


class MissingPackage(Refused, ImportError):
    """What was asked for needs a package that is not installed; says what to install."""
