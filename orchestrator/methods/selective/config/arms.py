"""Control arms of a selective sweep: fixed configurations that its trials are compared with.

An arm is an entry of :data:`ARMS`. The YAML key ``arms``, what arms train on, their lines in the figure and their words
and their order on the page all come from there; they run in the order of their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LineStyle = tuple[int, tuple[float, ...]]
"""Offset and dashes, as Matplotlib has them."""

QUANTILE = 0.5
"""An arm that keeps a part of the batches keeps as many as this ``tau_quantile``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """What an arm can choose its batches by."""

    reward_S: "NDArray[np.float64]"
    """R = 1/EMD of each selectable batch."""
    n_half: int
    """How many batches ``tau_quantile`` = :data:`QUANTILE` keeps."""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wins:
    """Words of the caution where an arm's objective is not below that of the chosen trial."""

    prefers: str
    """Follows "The objective prefers"."""
    value_of: str
    """Follows "It is 0.7 for": what has that objective."""
    consequence: str
    """Follows "whoever goes by it alone"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One control."""

    title: str
    """Follows "+0.02 for": names the arm in a sentence."""
    choose: "Callable[[Batches], NDArray[np.intp]] | None"
    """Returns the positions of the batches that it is finetuned on, ascending; None: it is not finetuned."""
    what: str
    """Explains it on the page: follows "is", or where it is finetuned, "is finetuned on"."""
    line: LineStyle
    """In the figure of the tau curve."""
    by_default: bool = True
    """Whether a sweep file that says nothing of arms has it."""
    wins: Wins | None = None
    """None: nothing is said where its objective is the higher one."""

    @property
    def is_finetuned(self) -> bool:
        """Whether it changes the pretrained model."""
        return self.choose is not None


def _all(batches: Batches) -> "NDArray[np.intp]":
    import numpy as np  # here: `orchestrator --help` needs none

    return np.arange(len(batches.reward_S))


def _random(batches: Batches) -> "NDArray[np.intp]":
    """Draw without replacement."""
    import numpy as np

    rng = np.random.default_rng(batches.seed)
    return np.sort(rng.choice(len(batches.reward_S), size=batches.n_half, replace=False))


def _lowest(batches: Batches) -> "NDArray[np.intp]":
    """Take those of lowest reward, of equal ones the first."""
    import numpy as np

    return np.sort(np.argsort(batches.reward_S, kind="stable")[: batches.n_half])


NO_ADAPT = "no_adapt"
"""The arm that runs in any case: it says what the pretrained model is worth."""
RANDOM = "random"
"""The arm against which the ranking by reward is judged."""

ARMS: Mapping[str, Arm] = {
    NO_ADAPT: Arm(
        title="no adaptation",
        choose=None,
        what="the pretrained encoder untouched",
        line=(0, (1, 1.5)),
        wins=Wins(
            prefers="no adaptation",
            value_of="the pretrained encoder as it was",
            consequence="would not adapt",
        ),
    ),
    "all_source": Arm(
        title="all source batches",
        choose=_all,
        what="all batches",
        line=(0, (6, 2)),
    ),
    RANDOM: Arm(
        title="a random half of the source batches",
        choose=_random,
        what=f"as many as tau_quantile {QUANTILE:g} keeps, drawn by seed",
        line=(0, (4, 1.5, 1, 1.5)),
    ),
    "lowest": Arm(
        title="the half of the source batches with the lowest rewards",
        choose=_lowest,
        what=f"as many as tau_quantile {QUANTILE:g} keeps, those of lowest reward",
        line=(0, (1, 1, 4, 1)),
        by_default=False,
        wins=Wins(
            prefers="the batches of lowest reward",
            value_of="these",
            consequence="would select the other way round",
        ),
    ),
}
"""All arms by name, in the order in which a file and the page have them."""

DEFAULT: tuple[str, ...] = tuple(name for name, arm in ARMS.items() if arm.by_default)
"""Names of the arms of a sweep file that does not list any."""
