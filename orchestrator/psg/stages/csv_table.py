"""Stages as rows of a table with named columns, such as the ``events.tsv`` of BIDS."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Text
from orchestrator.config.validation import Section
from orchestrator.errors import RecordingError
from orchestrator.psg.file_names import Glob
from orchestrator.psg.stages.format import StageFormat, StageSource

if TYPE_CHECKING:
    from orchestrator.psg.edf import Annotation
    from orchestrator.psg.hypnogram import Hypnogram

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}

_NOT_GIVEN = ("", "n/a")
"""What a table writes where it has no value; BIDS has the second."""


class Columns(Section):
    """Names of the columns, as in the first line of the file."""

    onset: Annotated[Text, Field(examples=["onset"])] = "onset"
    """Seconds from the start of the signal."""
    duration: Annotated[Text, Field(examples=["duration"])] = "duration"
    """Seconds; an event of another kind need not have any."""
    stage: Annotated[Text, Field(examples=["trial_type"])] = "stage"
    """A text that ``labels`` knows."""

    @model_validator(mode="after")
    def _three_columns(self) -> "Columns":
        if len({self.onset, self.duration, self.stage}) < 3:
            raise PydanticCustomError("columns", "must name three different columns")
        return self


class StagesFromCsv(StageFormat):
    """Stages are rows of a table, in a text file next to the recording."""

    source: Literal["csv"] = Field(alias="from")
    """Written ``from: csv``."""
    file: Glob
    """Glob in the folder of the recording; may hold ``{stem}`` and ``{key}``."""
    columns: Columns = Columns()
    """Names of the columns with onset, duration and stage; other columns are not read."""
    delimiter: Literal["comma", "semicolon", "tab"] = "comma"
    """What stands between two columns."""
    other_texts: Literal["refuse", "ignore"] = "refuse"
    """What to do with a row whose text ``labels`` does not know: refuse the recording, or take it for an event of
    another kind, as in a table that has lights and arousals, too."""

    def read(self, given: StageSource) -> "Hypnogram":
        """Return the stages of a recording, see :meth:`StageFormat.read`."""
        from orchestrator.psg import hypnogram  # here: reading a data-set file needs no MNE

        return hypnogram.from_annotations(
            list(self._annotations(given)),
            given.labels,
            given.duration_s,
            beyond_signal=given.beyond_signal,
        )

    def _annotations(self, given: StageSource) -> "Iterator[Annotation]":
        from orchestrator.psg.edf import Annotation

        assert given.content is not None, "`file` is required"
        try:
            text = given.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _refused(given, f"is not UTF-8 at byte {error.start}") from None
        lines = io.StringIO(text, newline="")
        table = csv.DictReader(lines, delimiter=_DELIMITERS[self.delimiter], strict=True)
        try:
            self._check_names(given, table.fieldnames or [])
            for row in table:
                line = table.line_num
                if None in row or None in row.values():
                    raise _refused(given, f"has more or fewer fields in line {line} than in line 1")
                onset_s = _seconds(given, line, self.columns.onset, row)
                duration_s = _seconds(given, line, self.columns.duration, row)
                if onset_s is None:
                    raise _refused(given, f"has no onset in line {line}")
                if duration_s is not None and duration_s < 0:
                    raise _refused(given, f"has the duration {duration_s:g} in line {line}")
                text = (row[self.columns.stage] or "").strip()
                is_stage = text in given.labels
                if is_stage and not duration_s:
                    raise _refused(given, f"has {text!r} without a duration in line {line}")
                if not is_stage and self.other_texts == "refuse":
                    raise RecordingError("unknown_label", f"{given.file}: {_unknown(text, line)}")
                yield Annotation(onset_s=onset_s, duration_s=duration_s, text=text)
        except csv.Error as error:
            raise _refused(given, f"cannot be read in line {table.line_num}: {error}") from None

    def _check_names(self, given: StageSource, present: Sequence[str]) -> None:
        for name in (self.columns.onset, self.columns.duration, self.columns.stage):
            if (n := present.count(name)) != 1:
                there = ", ".join(map(repr, present)) or "none"
                raise _refused(given, f"has {n} columns {name!r}; there are: {there}")


def _seconds(
    given: StageSource, line: int, column: str, row: dict[str, str | None]
) -> float | None:
    """Return a number of seconds; None where the row has none."""
    text = (row[column] or "").strip()
    if text in _NOT_GIVEN:
        return None
    try:
        seconds = math.nan if "_" in text else float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise _refused(
            given, f"has {column} {text!r} in line {line}, which is no number of seconds"
        )
    return seconds


def _unknown(text: str, line: int) -> str:
    return (
        f"line {line} has {text!r}, which `labels` of the data set file does not know. Add it there, or write "
        "'other_texts: ignore' in `stages`."
    )


def _refused(given: StageSource, problem: str) -> RecordingError:
    return RecordingError(
        "unreadable",
        f"{given.file} {problem}. Change 'columns' or 'delimiter' of `stages` in the data set file, or the file.",
    )
