"""Objectives of searches: what a trial's value is, as data.

Each method has a table of what its searches may maximise, ``OBJECTIVES``, and one of what they may weigh against that,
``FURTHER``. The YAML keys ``objective`` and ``also``, their reference, the direction that Optuna goes in, the columns
on the command line and the words of the page come from there. How a value is computed is up to the method.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]
"""Whether more of a value is better, in Optuna's words."""

Reads = Literal["held-out labels", "target signals", "target labels", "nothing"]
"""What a value is computed from, besides the model. Held-out: of subjects that no trial was trained on."""

MACRO_F1 = "macro-F1"
"""Measure of the objectives that are on the scale of the target metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One value that a trial may have."""

    what: str
    """What it is, for the reference of sweep files: part of a sentence."""
    reads: Reads
    title: str = "objective"
    """Head of its column in the page's table of trade-offs."""
    direction: Direction = "maximize"
    measure: str = MACRO_F1
    """What it is measured in, for the legend of a figure."""
    is_drawn: bool = True
    """Whether it fits on an axis of macro-F1."""
    caption: str = (
        "Both lines are macro-F1: the solid one on the target, the dashed one on what\n"
        "  the objective is computed from."
    )
    """Explains the lines of the tau curve."""
    note: str = ""
    """What the page says of it besides; begins with a space."""
    format: str = ".3f"
    """On the command line."""

    @property
    def is_oracle(self) -> bool:
        """Whether it reads labels of the target, which nobody has in practice."""
        return self.reads == "target labels"


COST = Objective(
    what="epochs that go through the network in training (less is better)",
    reads="nothing",
    title="epochs through the network",
    direction="minimize",
    measure="epochs",
    format=".3g",
)
"""How many epochs went through the network in training, each as often as it did; several methods have it."""


def objectives_text(objectives: Iterable[Objective]) -> str:
    """Return the reference of a key that takes one of these objectives."""
    *first, last = (objective.what for objective in objectives)
    text = f"{'; '.join(first)}; or {last}" if first else last
    return f"{text[0].upper()}{text[1:]}."


def further_text(objectives: Iterable[Objective]) -> str:
    """Return the reference of a key that takes some of these objectives."""
    what = "; ".join(objective.what for objective in objectives)
    return f"Further objectives: {what}. Trials are then ranked by dominance."
