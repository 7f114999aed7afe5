"""What the pages of all methods share: sections, figures, templates with their filters, tables as CSV."""

import base64
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.reviews import formats
from orchestrator.reviews.trials import further_text, objective_text
from orchestrator.tables.rows import schema_of, values_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Findings = TypeVar("Findings")
"""What a method found in its tables, for pages and figures."""


_FIGURE = "reviews/sections/figure.html.j2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure(Generic[Findings]):
    """A picture on a page, and the section that shows it."""

    file: str
    """Its name, such as ``balance.png``."""
    alt: Callable[[Findings], str]
    """What it shows, for somebody who cannot see it, and where the numbers are."""
    draw: Callable[[Findings], bytes]
    """Returns a PNG."""
    is_shown: Callable[[Findings], bool] = lambda _: True
    """Whether there is anything to draw."""
    template: str = _FIGURE
    """Of its section; by default a heading, the picture and a caption, left out where there is nothing to draw."""
    title: str = ""
    """Heading, for the default section."""
    caption: Callable[[Findings], str] = lambda _: ""
    """Below the picture, for the default section."""


Section = str | Figure[Findings]
"""A part of a page: a template, or a figure with its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure that was drawn, for its template."""

    png: bytes
    alt: str
    title: str
    caption: str


def drawn(sections: Iterable[Section[Findings]], found: Findings) -> dict[str, bytes]:
    """Return the pictures of a page that have anything to show: file name -> PNG."""
    return {
        section.file: section.draw(found)
        for section in sections
        if isinstance(section, Figure) and section.is_shown(found)
    }


def rendered(
    sections: Iterable[Section[Findings]],
    found: Findings,
    pictures: Mapping[str, bytes],
    *,
    title: str,
    style: str | None = None,
    **context: object,
) -> str:
    """Return a page as HTML that needs no other file.

    Parameters
    ----------
    sections : iterable of Section
        In the order of the page.
    found : object
        What the figures are drawn from; templates have it as ``found``.
    pictures : mapping of str to bytes
        What `drawn` gave.
    title : str
        Name of the sweep, for the window.
    style : str, optional
        Template with more rules of CSS.
    context : object
        What else templates need.
    """
    environment = _environment()
    parts = []
    for section in sections:
        more = {}
        if isinstance(section, Figure):
            png = pictures.get(section.file)
            if png is None and section.template == _FIGURE:
                continue
            more["figure"] = None if png is None else _picture(section, png, found)
        path = section.template if isinstance(section, Figure) else section
        parts.append(environment.get_template(path).render(found=found, **context, **more))
    page = environment.get_template("reviews/review.html.j2").render(
        name=title,
        style=environment.get_template(style).render() if style else "",
        body="".join(parts),
    )
    return page.removesuffix("\n")


def _picture(figure: Figure[Findings], png: bytes, found: Findings) -> Picture:
    return Picture(
        png=png, alt=figure.alt(found), title=figure.title, caption=figure.caption(found)
    )


def _environment() -> Environment:
    """Templates by their path in ``orchestrator/``; all text that they are given is escaped."""
    environment = Environment(
        loader=PackageLoader("orchestrator", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": formats.number,
        "signed": formats.signed,
        "spread": formats.spread,
        "interval": formats.interval,
        "p_value": formats.p_value,
        "significant": formats.significant,
        "rate": formats.rate,
        "percent": formats.percent,
        "counted": formats.counted,
        "range_text": formats.range_text,
        "objective_text": objective_text,
        "further_text": further_text,
        "or_dash": lambda value: formats.DASH if value is None else value,
        "inline": lambda png: base64.b64encode(png).decode(),
    }
    return environment


def table_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as CSV: no value is an empty cell, floats keep every digit, several names are joined by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def records_csv(columns: Sequence[str], records: Iterable[object]) -> bytes:
    """Attributes of records as CSV, see `table_csv`."""
    return table_csv(columns, ([getattr(r, column) for column in columns] for r in records))


def rows_csv(
    row_type: "type[DataclassInstance]",
    rows: "Iterable[DataclassInstance]",
    leave_out: Sequence[str] = (),
) -> bytes:
    """Rows of a stored table as CSV, in its columns but for those to leave out; see `table_csv`."""
    columns = [name for name in schema_of(row_type).names if name not in leave_out]
    found = map(values_of, rows)
    return table_csv(columns, ([values[column] for column in columns] for values in found))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
