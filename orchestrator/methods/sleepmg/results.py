"""The tables of a sleepmg sweep: trials and rows, folds, recordings, confusion, modalities."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.tables.rows import WideInt, columns_of, spread
from orchestrator.tables.shown import Gauge, Shown
from orchestrator.tables.trials import ReplicatedOutcome
from search_spaces.sleepmg import PARAMETERS, SPACE

_PARAMS = columns_of(SPACE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow(ReplicatedOutcome):
    """One row of ``trials.parquet``: a whole cross-validation of one configuration.

    Metrics are means over the seeds of a trial.
    """

    trial: str
    """``t000``, or ``row-<slug>-seed<k>``."""
    kind: str
    """``trial`` or ``row``."""
    row: str | None
    """Name of the row as written in the sweep file; None for a trial of the search."""
    seed: WideInt
    """The first of its seeds."""
    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    enqueued: bool
    """Fixed before the search began; the others were sampled."""
    reused_from: str | None
    """The trial whose training this one shares; None if it was trained itself."""
    params: Mapping[str, float | str] = spread(_PARAMS)
    """Every parameter of the search space, varied or not."""
    multimodal: bool
    adversary: bool
    """Whether there is a discriminator."""
    mod_f: bool
    mod_y: bool
    mod_d: bool
    fusion: str
    n_folds: int = 0
    n_steps: int = 0
    """Optimiser updates of all folds together."""
    objective: float | None
    """Macro-F1 of the validation subjects, pooled over folds."""
    n_replicates: int
    objective_low: float | None
    objective_high: float | None
    cost: float | None = None
    """Epochs that went through the network in training, in all folds."""
    worst_subject: float | None
    """Macro-F1 of the validation subject who fares worst."""
    on_front: bool | None
    stopped_after: int | None
    test_macro_f1: float | None = None
    """Of the test subjects, pooled over folds; so are the accuracy and kappa."""
    test_macro_f1_sd: float | None = None
    """Over the seeds of this trial; None for one seed."""
    test_accuracy: float | None = None
    test_kappa: float | None = None
    domain_accuracy: float | None = None
    """Discriminator on the training epochs of the last pass, mean over folds."""
    domain_accuracy_best: float | None = None
    """The same of its best pass."""
    domain_chance: float | None = None
    """One over the number of domains, mean over folds."""
    signature: str | None
    """Id of the configuration, its data and its seeds; None where it failed."""
    error: str | None

    @property
    def is_row(self) -> bool:
        """Whether this is a fixed configuration and not one of the search."""
        return self.kind == "row"

    @property
    def balances(self) -> bool:
        """Whether anything is scaled; coefficients are recorded even where nothing is."""
        return self.mod_f or self.mod_y or self.mod_d


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRow:
    """One row of ``folds.parquet``: one training of a trial."""

    trial: str
    seed: WideInt
    fold: int
    test_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    train_subjects: tuple[str, ...]
    fold_id: str
    best_pass: int | None
    """Pass whose weights were tested, by macro-F1 of the validation subjects."""
    n_passes: int | None
    n_steps: int
    validation_macro_f1: float | None
    test_macro_f1: float | None
    """None where no test subject has an epoch of a declared stage; so are the next two."""
    test_accuracy: float | None
    test_kappa: float | None
    n_test_epochs: int | None
    domain_accuracy: float | None
    domain_accuracy_best: float | None
    domain_chance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingRow:
    """One row of ``recordings.parquet``: one recording as staged when its subject was the test subject."""

    trial: str
    seed: WideInt
    fold: int
    subject: str
    recording: str
    n_epochs: int
    macro_f1: float | None
    accuracy: float | None
    kappa: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusionRow:
    """One row of ``confusion.parquet``: test epochs of a trial with this true and this predicted stage."""

    trial: str
    true: str
    predicted: str
    n: WideInt


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityRow:
    """One row of ``modalities.parquet``: one modality in one pass of one fold; means over its steps."""

    trial: str
    seed: WideInt
    fold: int
    pass_: int
    modality: str
    """``all`` where the channels of all modalities share one extractor."""
    score_y: float | None
    """Probability of the true stage by this modality's share of the classifier."""
    rho_y: float | None
    """That score against those of the other modalities; 1 is as good as they are."""
    k_y: float | None
    """Coefficient of its slice of the classifier; 1 is unscaled."""
    score_d: float | None
    """The same three for the discriminator."""
    rho_d: float | None
    k_d: float | None
    k_f: float | None
    """Coefficient of its extractor."""
    macro_f1: float | None
    """Of the modality's own answers on the validation subjects, after the pass."""
    starved: bool
    """Whether its updates were held back in nearly all steps of the pass."""


SHOWN = Shown(
    parameters=PARAMETERS,
    outcomes=(
        ("folds", "n_folds", "d"),
        ("steps", "n_steps", "d"),
        ("objective", "objective", ".3f"),
        ("test F1", "test_macro_f1", ".3f"),
        ("kappa", "test_kappa", ".3f"),
    ),
    units=("fold", "pass"),
    gauges={
        "rho": Gauge(
            name="modality_ratio",
            labels=("modality", "head"),
            meaning="rho of the last pass: how far a modality leads the others; 1: as good as they are.",
        ),
        "k": Gauge(
            name="modality_coefficient",
            labels=("modality", "head"),
            meaning="k of the last pass: factor of a modality's gradients; 1: not held back.",
        ),
    },
)
