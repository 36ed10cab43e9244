"""Report data -> one HTML file that needs nothing else, no network above all.

The page carries its styles, its scripts and its data. A Content-Security-Policy in its head
makes the browser refuse every request, so a slip in an asset cannot turn into one.
"""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from pathlib import Path

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hil.core.errors import DataError
from reports.model import ReportData
from reports.page import Page, page
from reports.text import NBSP
from reports.views.parts import Cell, Column

HERE = Path(__file__).parent
ASSETS = HERE / "assets"
UPLOT = ASSETS / "vendor" / "uplot"
SCRIPTS = ("state", "theme", "tables", "charts", "waveform", "start")


def render(data: ReportData, out: Path) -> Path:
    """Write the report to ``out`` (folders are made) and return it."""
    html = to_html(page(data))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: the report cannot be written: {error.strerror}") from error
    return out


def save_data(data: ReportData, out: Path) -> Path:
    """Write the report's data as JSON, to be rendered again later or elsewhere."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(data.to_dict(), allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: the report data cannot be written: {error.strerror}") from error
    return out


def load_data(path: Path) -> ReportData:
    """Read what ``save_data`` wrote; DataError names the file and the field."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file of report data: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: report data is a JSON object, this is a {type(data).__name__}")
    try:
        return ReportData.from_dict(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def to_html(shown: Page) -> str:
    """The page as text."""
    return _environment().get_template("base.html.j2").render(page=shown)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,  # every template is HTML, whatever its file is called
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Numbers only, no spaces: specs and payloads are most of the page's own weight.
    env.policies["json.dumps_kwargs"] = {
        "sort_keys": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    env.globals["style"] = _style
    env.globals["first_script"] = lambda: _script(ASSETS / "js" / "first.js")
    env.globals["scripts"] = _scripts
    env.globals["chart_library"] = chart_library
    env.globals["waveform_library"] = lambda: _script(UPLOT / "uPlot.iife.min.js")
    env.globals["sort_key"] = sort_key
    return env


def sort_key(cell: Cell, column: Column) -> str | float | None:
    """What a cell must carry to be sorted; None where its text alone sorts right.

    Numbers sort by the text's first number, words by the text.
    """
    if cell.sort is None:
        return None
    if column.numeric:
        plain = cell.text.replace(",", "").lstrip(f"±+ {NBSP}").split("/")[0]
        plain = plain.removesuffix(f"{NBSP}%")
        return None if _is_number(plain) else cell.sort
    return None if cell.sort == cell.text.lower() else cell.sort


def _is_number(plain: str) -> bool:
    try:
        float(plain)
    except ValueError:
        return False
    return True


def _style() -> Markup:
    return Markup(_read(UPLOT / "uPlot.min.css") + _read(ASSETS / "report.css"))


def _scripts() -> Markup:
    bodies = [_script(ASSETS / "js" / f"{name}.js") for name in SCRIPTS]
    return Markup("(() => {\n'use strict';\n") + Markup("\n").join(bodies) + Markup("\n})();")


@cache
def chart_library() -> str:
    """Vega, Vega-Lite and vega-embed of the vl-convert wheel: deflated, base64.

    In full they would be 60 % of the page. In a function, so that no name of theirs leaks.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    body = f"(() => {{{bundle}}})();"
    return base64.b64encode(zlib.compress(body.encode(), 9)).decode()


def _script(path: Path) -> Markup:
    return _inline(_read(path), path.name)


def _inline(body: str, name: str) -> Markup:
    """A script as it may stand in a page: one that ends its own element is refused."""
    if "</script" in body.lower() or "<!--" in body:
        raise DataError(f"{name} cannot be put into a page: it contains the end of a script")
    return Markup(body)


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def size_by_part(html: str) -> dict[str, int]:
    """Bytes of the page's largest parts, largest first: what to look at when it grew."""
    parts: dict[str, int] = {}
    for piece in html.split("<script")[1:]:
        head, _, rest = piece.partition(">")
        body = rest.partition("</script>")[0]
        name = head.partition('id="')[2].partition('"')[0] or f"script {len(parts)}"
        parts[name] = len(body.encode())
    parts["style"] = len(html.partition("<style>")[2].partition("</style>")[0].encode())
    parts["markup and the rest"] = len(html.encode()) - sum(parts.values())
    return dict(sorted(parts.items(), key=lambda item: -item[1]))
