"""What limits a review: a caution has a level, a title and a text, and the loudest come first. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.reviews.formats import counted, first_line, some
from orchestrator.store.provenance import OtherCode


class Level(StrEnum):
    """How loud a caution is; also its CSS class."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """One thing that limits what the page says."""

    level: Level
    title: str
    text: str


def loudest_first(cautions: Iterable[Caution]) -> tuple[Caution, ...]:
    """Sort by level; within one, in the order given."""
    return tuple(sorted(cautions, key=lambda caution: list(Level).index(caution.level)))


def failures_named(failed: Sequence[tuple[str, str | None]], at_most: int = 5) -> str:
    r"""Ids of failed trials with the first lines of their errors, the rest counted.

    >>> failures_named([("t001", "boom\nmore"), ("t002", None)], at_most=1)
    't001: boom; and 1 more'
    """
    named = "; ".join(f"{trial}: {first_line(error)}" for trial, error in failed[:at_most])
    more = f"; and {len(failed) - at_most} more" if len(failed) > at_most else ""
    return f"{named}{more}"


def encoders_of_other_code(others: Iterable[OtherCode]) -> list[Caution]:
    """Encoders that other code trained than the sweep began with, one caution for each such code."""
    return [
        Caution(
            level=Level.WARNING,
            title=f"Trained by other code than this sweep began with: {counted(len(other.encoders), 'encoder')}.",
            text=f"{some(other.encoders, 8)}: {other.trained_by.text}; the sweep: {other.began_with.text}. An encoder "
            "is looked up by its data and settings, whatever code trained it; the sweep's own might give other "
            "weights. A sweep with another store trains its encoders anew.",
        )
        for other in others
    ]
