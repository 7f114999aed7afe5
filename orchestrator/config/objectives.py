"""Objectives of searches: what a trial's value is, as data.

An objective is an entry of :data:`OBJECTIVES`. The YAML keys ``objective`` and ``also``, their reference, the direction
that Optuna goes in, the columns on the command line and the words of the page come from there. How a value is computed
is up to the method that offers it.
"""

from collections.abc import Iterable, Mapping
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


OBJECTIVES: Mapping[str, Objective] = {
    "source_val": Objective(
        what="macro-F1 on held-out source subjects",
        reads="held-out labels",
    ),
    "target_information": Objective(
        what="how certain the predictions for the target are and how evenly they spread over the stages, without a "
        "label",
        reads="target signals",
        measure="0 to 1",
        caption="The solid line is macro-F1 on the target, the dashed one how certain\n"
        "  and how evenly spread the predictions for it are.",
    ),
    "target_emd": Objective(
        what="minus the EMD of the source to the target under the finetuned encoder, without a label either",
        reads="target signals",
        measure="minus a distance",
        is_drawn=False,
        caption="The line is macro-F1 on the target; the\n"
        "  objective, minus the distance of the source to it after finetuning, is on another scale and in the table "
        "alone.",
        note=" This objective is minus the earth mover's distance of the source epochs that a "
        "tau chooses from to the target's, under the finetuned encoder and in units of each feature's "
        "spread over the source; no label is read. How it is taken is a choice made here.",
    ),
    "oracle_target_val": Objective(
        what="macro-F1 on labelled target subjects (an oracle no one has in practice)",
        reads="target labels",
    ),
    "validation": Objective(
        what="macro-F1 of the validation subjects of all folds, pooled",
        reads="held-out labels",
    ),
    "cost": Objective(
        what="epochs that go through the network in training (less is better)",
        reads="nothing",
        title="epochs through the network",
        direction="minimize",
        measure="epochs",
        format=".3g",
    ),
    "transfer_margin": Objective(
        what="what adaptation gains for the objective's subject who gains least (more is better)",
        reads="held-out labels",
        title="gain of the subject who gains least",
        format="+.3f",
    ),
    "worst_subject": Objective(
        what="macro-F1 of the validation subject who fares worst (more is better)",
        reads="held-out labels",
        title="macro-F1 of the worst subject",
    ),
}
"""All objectives of all methods, by name."""

COST = "cost"
"""Further objective: how many epochs went through the network in training, each as often as it did."""


def objectives_text(names: Iterable[str]) -> str:
    """Return the reference of a key that takes one of these objectives."""
    *first, last = (OBJECTIVES[name].what for name in names)
    text = f"{'; '.join(first)}; or {last}" if first else last
    return f"{text[0].upper()}{text[1:]}."


def further_text(names: Iterable[str]) -> str:
    """Return the reference of a key that takes some of these objectives."""
    what = "; ".join(OBJECTIVES[name].what for name in names)
    return f"Further objectives: {what}. Trials are then ranked by dominance."
