"""A progress bar for calls from Python, which appears once the work has taken a while."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

SECONDS_WITHOUT_BAR = 2.0


@contextlib.contextmanager
def progress_bar(
    what: str, total: int | None, wanted: bool | None, unit: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of items just done.

    Args:
        what: is done, such as "Embedding".
        total: number of items; None = not known.
        wanted: whether to show a bar on standard error; None = once it takes long and standard
            error is a terminal.
        unit: of the rate, items per second.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda n_items: None
        return
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items per second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} {unit}/s")

    columns = (*Progress.get_default_columns(), Rate())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    began = time.monotonic()

    def advance(n_items: int) -> None:
        late = wanted is True or time.monotonic() - began > SECONDS_WITHOUT_BAR
        if late and not bar.live.is_started:
            bar.start()
        bar.advance(task, n_items)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
