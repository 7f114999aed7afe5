"""The tables of a selective sweep: its trials and arms, and its source batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.alignment.readings import READINGS
from orchestrator.tables.rows import spread
from orchestrator.tables.shown import Selection, Shown
from orchestrator.tables.trials import ReplicatedOutcome
from search_spaces.selective import PARAMETERS
from trainables.stages import STAGE_NAMES

_COUNTS = dict.fromkeys(STAGE_NAMES, pa.int32())


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow(ReplicatedOutcome):
    """One row of ``trials.parquet``: a configuration of the sweep or a control arm.

    Metrics are means over the seeds of a trial.
    """

    trial: str
    """``t000``, ``t001`` ... in the order of proposal, or ``arm-`` and the name of the arm."""
    kind: str
    """``trial`` or ``arm``."""
    arm: str | None
    """A key of :data:`orchestrator.methods.selective.config.arms.ARMS`; None for a trial."""
    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    enqueued: bool
    """Fixed before the search began; the others were sampled."""
    on_line: bool
    """Enqueued, with the learning rate and the steps of the arms: these trials differ in tau alone."""
    reused_from: str | None
    """The trial whose training this one shares; None if it was trained itself."""
    tau_quantile: float | None
    """Fraction of the selectable batches below the cut; None for an arm. With ``adapt_to: subject``, the mean over the
    target subjects where it is not the same for each."""
    tau_absolute: float | None
    """The same cut on the reward: kept is R > ``tau_absolute``. In 1/feature units. None where each target subject has
    another one."""
    learning_rate: float | None
    """Of the finetuning; None without one."""
    n_kept: int
    """Source batches used for finetuning. With ``adapt_to: subject``, the sum over the target subjects: a batch that is
    kept for two of them counts twice."""
    n_selectable: int
    """Source batches that tau chooses from. With ``adapt_to: subject``, these times the number of target subjects."""
    n_subjects_kept: int
    """Source subjects with a batch that is kept, for whichever target subject."""
    n_steps: int
    """Optimiser updates of the finetuning."""
    objective: float | None
    """What the search maximised, see ``orchestrator.config.objectives``."""
    n_replicates: int
    objective_low: float | None
    objective_high: float | None
    cost: float | None
    """Epochs that went through the network in training with one seed. With ``adapt_to: subject``, the sum over the
    target subjects; a training that serves several of them counts once."""
    transfer_margin: float | None
    """Gain over no adaptation of the objective's subject who gains least."""
    on_front: bool | None
    stopped_after: int | None
    target_macro_f1: float | None
    """Of the target's test subjects; so are the next two."""
    target_accuracy: float | None
    target_kappa: float | None
    kept: Mapping[str, int] = spread(_COUNTS, prefix="kept_")
    """Epochs of each stage in the kept batches, which count as in ``n_kept``."""
    signature: str | None
    """Id of all that the predictions depend on; None for a trial without predictions."""
    error: str | None

    @property
    def is_arm(self) -> bool:
        """Whether this is a control and not a configuration of the search."""
        return self.kind == "arm"

    @property
    def kept_fraction(self) -> float | None:
        """Share of the selectable batches that was kept; None where nothing could be selected."""
        return self.n_kept / self.n_selectable if self.n_selectable else None


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRow:
    """One row of ``batches.parquet``: consecutive usable epochs of one source recording."""

    batch_id: int
    subject: str
    recording: str
    first_epoch: int
    n: int
    """Epochs in the batch."""
    selectable: bool
    """False for a held-out subject: scored and shown, never trained on."""
    emd: float | None
    """Mean earth mover's distance to the target batches, in feature units. It is over those of all target subjects with
    ``adapt_to: subject``, too, which selects by the distances to each subject alone."""
    reward: float | None
    """R = 1/EMD; infinite at distance 0."""
    epochs: Mapping[str, int] = spread(_COUNTS)
    """Epochs of each stage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedRow:
    """One row of ``predicted.parquet``: what a trial or arm says of a target subject, or of all, judged or not."""

    trial: str
    """As in ``trials.parquet``."""
    subject: str | None
    """None for all subjects together."""
    n_epochs: int
    """Epochs that are not flat."""
    certainty: float
    """1 where each epoch is certain, 0 where all stages are as probable; see ``certainty`` in
    ``orchestrator.sweeps.objective``."""
    information: float
    """The same for the spread over the stages, too: 1 where each epoch is certain and the stages are even."""
    epochs: Mapping[str, int] = spread(_COUNTS)
    """Epochs of each stage, by the mean probabilities over the seeds."""


def _n_kept(kept: Mapping[str, Any]) -> str:
    return f"{kept['n_kept']} of {kept['n_batches']}"


def _mean_emd(kept: Mapping[str, Any]) -> str:
    return "" if kept["mean_emd"] is None else f"{kept['mean_emd']:.4g}"


def _kept_text(kept: Mapping[str, Any]) -> str:
    mean = _mean_emd(kept)
    return f"{_n_kept(kept)} batches kept{f', mean EMD {mean}' if mean else ''}"


TENTH = "tenth"
"""Unit of the parts of a trial: a finetuning that a scheduler may end tells of each tenth of its steps."""

SHOWN = Shown(
    parameters=PARAMETERS,
    outcomes=(
        ("kept", "n_kept", "d"),
        ("of", "n_selectable", "d"),
        ("steps", "n_steps", "d"),
        ("objective", "objective", ".3f"),
        ("target F1", "target_macro_f1", ".3f"),
    ),
    columns={name: reading.column for name, reading in READINGS.items()},
    units=(TENTH,),
    selection=Selection(
        fields={
            "n_kept": {"type": "integer", "minimum": 0},
            "n_batches": {"type": "integer", "minimum": 0},
            "mean_emd": {"type": ["number", "null"]},
        },
        columns={"kept": _n_kept, "mean EMD": _mean_emd},
        text=_kept_text,
    ),
)
