"""What a sweep file means by a key that it leaves out: a number for each set of defaults.

A sweep keeps the defaults that it began with. Its stored file carries their number (files of version 0.1 carry none,
which is 0), and a key that is missing there, or in the file that goes on with it, is read as that number meant it.

Whoever changes a default, or what it means to leave a key out, adds a row to ``CHANGES`` in the same commit. A key that
keeps its values but changes their meaning has to become another key: its row says what the old meaning is called.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One key whose absence meant something else before."""

    number: int
    """Of the defaults that the change made, 1 more than those before it. Several rows may have the same."""
    method: str
    """Whose sweep files."""
    key: tuple[str, ...]
    """Path from the top of the file, such as ``("pretrain", "n_passes")``."""
    before: Any
    """What a file without the key meant until then, as YAML has it. That the key had no value cannot be said: one whose
    absence meant "none" stays so."""
    in_optional_section: bool = False
    """Whether a file may lack the key's section, as an ablation lacks ``search``: then nothing was meant."""


CHANGES: tuple[Change, ...] = tuple(
    Change(number=1, method=method, key=("keep_models",), before="none")
    for method in ("selective", "sleepmg", "pretrain")
)
"""Every change of a default since version 0.1, the oldest first."""


def newest() -> int:
    """Return the number of today's defaults."""
    return max((change.number for change in CHANGES), default=0)


def as_meant(data: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the data of a sweep file with what its missing keys meant under earlier defaults.

    Parameters
    ----------
    data : mapping
        As YAML has it, ``method`` included.
    number : int
        Of the defaults; those of today leave the data as they are.
    """
    meant: dict[str, Any] = deepcopy(dict(data))
    for change in CHANGES:  # of two changes of a key, the older one says what was meant first
        if change.number > number and change.method == meant.get("method"):
            *sections, key = change.key
            inside: Any = meant
            for section in sections:
                is_there = isinstance(inside, dict) and section in inside
                may_be_made = isinstance(inside, dict) and not change.in_optional_section
                inside = inside.setdefault(section, {}) if is_there or may_be_made else None
            if isinstance(inside, dict):  # anything else is a mistake, which its model reports
                inside.setdefault(key, deepcopy(change.before))
    return meant
