"""The tables of a sweep of pretrainings: its trials, and how each trial's encoder stages each held-out subject."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.tables.rows import columns_of, spread
from orchestrator.tables.shown import Shown
from orchestrator.tables.trials import Outcome
from search_spaces.pretrain import PARAMETERS, SPACE

_PARAMS = columns_of(SPACE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow(Outcome):
    """One row of ``trials.parquet``: one pretraining. What it reached is None where it failed."""

    trial: str
    """``t000``, ``t001`` ... in the order of proposal."""
    kind: str = "trial"
    """Always ``trial``."""
    state: str
    """``complete`` or ``failed``."""
    enqueued: bool
    """Fixed before the search began; the others were sampled."""
    reused_from: str | None
    """The trial that had the same settings before."""
    params: Mapping[str, float] = spread(_PARAMS)
    """Every parameter of the search space, varied or not."""
    n_passes: int | None = None
    """Passes taken."""
    best_pass: int | None = None
    """The pass whose weights the encoder has."""
    n_steps: int | None = None
    early_stop_macro_f1: float | None = None
    """Of the subject that stopped the training, at the best pass."""
    objective: float | None
    """Macro-F1 of all held-out epochs, pooled over subjects; so are the next two."""
    accuracy: float | None = None
    kappa: float | None = None
    n_subjects: int | None = None
    """Held-out subjects with an epoch of a declared stage."""
    lowest_subject_macro_f1: float | None = None
    """Of the held-out subject with the lowest macro-F1."""
    mean_subject_macro_f1: float | None = None
    """Over the held-out subjects, each by itself."""
    encoder_id: str | None
    signature: str | None
    """The same as the id of the encoder."""
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectRow:
    """One row of ``subjects.parquet``: a held-out subject as one trial's encoder stages it."""

    trial: str
    subject: str
    n_epochs: int
    macro_f1: float
    accuracy: float
    kappa: float


SHOWN = Shown(
    parameters=PARAMETERS,
    outcomes=(
        ("best pass", "best_pass", "d"),
        ("passes", "n_passes", "d"),
        ("steps", "n_steps", "d"),
        ("objective", "objective", ".3f"),
        ("lowest", "lowest_subject_macro_f1", ".3f"),
        ("encoder", "encoder_id", "s"),
    ),
)
