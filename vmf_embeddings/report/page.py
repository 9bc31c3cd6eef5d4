"""The page itself: the template, its scripts and styles, and a policy that forbids any request."""

import base64
import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmf_embeddings.evaluation.figures.style import COLOURS
from vmf_embeddings.report.charts import Chart
from vmf_embeddings.report.packing import script_json
from vmf_embeddings.report.pictures import Sheet
from vmf_embeddings.report.tables import Table
from vmf_embeddings.untrusted.refused import MissingPackage

if TYPE_CHECKING:
    from markupsafe import Markup

# as `COLOURS`, on a dark ground: any two are 10 or more apart in OKLab by every kind of sight, and
# each has a contrast of 3 with the page and the sphere
DARK_COLOURS = (
    "#4593df", "#ddbc15", "#c43820", "#4af0c3", "#c26ca0",
    "#ed8989", "#e76301", "#2fc3d3", "#9a4d9e", "#8149df",
)  # fmt: skip
_SCRIPTS = ("theme.js", "tables.js", "charts.js", "map_view.js", "map.js")
_FOLDER = "page"
_LONGEST_WORD = 9  # characters, of which a line may have one without a break
_MARKS = re.compile(r"([._/=])(?=\w)")


@dataclass(frozen=True)
class Page:
    """What the template shows, but for what every run shows of its own.

    Args:
        title: of the page.
        runs: name and title of each run.
        made: when.
        compared: sentences on the differences of several runs.
        headline: the main scores.
        facts: what was run.
        differing: keys of the configuration in which runs differ.
        configuration: all keys.
        logs: name of a run, and the end of its log.
        training: charts.
        scores: tables.
        curves: charts of reliability, risk and others.
        classes: tables of classes.
        shots: accuracy by training images.
        notes: name of a run, and what to know about it.
    """

    title: str
    runs: Sequence[Mapping[str, str]]
    made: str
    compared: Sequence[str]
    headline: Table
    facts: Table
    differing: Table | None
    configuration: Table | None
    logs: Sequence[tuple[str, str]]
    training: Sequence[Chart]
    scores: Sequence[Table]
    curves: Sequence[Chart]
    classes: Sequence[Table]
    shots: Chart | None
    notes: Sequence[tuple[str, str]]


def plotly_script() -> str:
    """The code of plotly.js that the package `plotly` has.

    Raises:
        MissingPackage: it is not installed.
    """
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise MissingPackage(
            "report draws its charts by plotly, which is not installed: pip install "
            "'plotly>=7.1,<8' (or vmf_embeddings[report])"
        )
    path = Path(found.origin).parent / "package_data" / "plotly.min.js"
    if not path.is_file():
        raise MissingPackage(
            f"the installed plotly has no {path.name}: pip install --upgrade 'plotly>=7.1,<8'"
        )
    if importlib.util.find_spec("jinja2") is None:
        raise MissingPackage("report needs the package jinja2: pip install 'jinja2>=3.1'")
    return path.read_text(encoding="utf-8")


def rendered(page: Page, parts: Sequence[Any], sheets: Mapping[int, Sheet], plotly: str) -> str:
    """The page as HTML, whole."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    charts = [*page.training, *page.curves, *([page.shots] if page.shots else [])]
    data = {
        "charts": {chart.key: chart.drawn() for chart in charts},
        "maps": [part.map for part in parts],
        "sheets": {n: vars(sheet) for n, sheet in sheets.items()},
        "runs": [run["name"] for run in page.runs],
        "colours": {"light": COLOURS, "dark": DARK_COLOURS},
    }
    scripts = [_inert(plotly), *(_text(name) for name in _SCRIPTS)]
    environment = Environment(
        loader=PackageLoader("vmf_embeddings.report", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template("report.html").render(
        page=page,
        parts=parts,
        policy=policy(scripts),
        style=_text("style.css"),
        scripts=scripts,
        data=script_json(data),
    )


def breakable(text: str) -> "Markup":
    """A text as HTML, where a line may break inside of long words: after dots, slashes and such.

    >>> print(breakable("a.b <b>"), breakable("mode.learning_rate=0.1"))
    a.b &lt;b&gt; mode.<wbr>learning_<wbr>rate=<wbr>0.<wbr>1
    """
    from markupsafe import Markup, escape

    words = text.split(" ")
    shown = (
        _MARKS.sub(r"\1<wbr>", str(escape(word))) if len(word) > _LONGEST_WORD else escape(word)
        for word in words
    )
    return Markup(" ".join(shown))


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: nothing is requested, and these scripts alone run."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _inert(script: str) -> str:
    """A script without what would end its element."""
    return script.replace("</script", r"<\/script")


def _text(name: str) -> str:
    folder = resources.files("vmf_embeddings.report") / _FOLDER
    return (folder / name).read_text(encoding="utf-8").strip()
