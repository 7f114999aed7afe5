"""What the pages of all methods share: templates with their filters, tables as CSV, pictures inside the page."""

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from orchestrator.review import formats
from orchestrator.review.trials import further_text, objective_text
from orchestrator.tables.rows import schema_of, values_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def template(path: str) -> Template:
    """Template of a page, by its path in this package; all text that it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("orchestrator.review", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
    return environment.get_template(path)


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
