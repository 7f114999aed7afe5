"""From a sweep file and the store's manifests to who is trained on, stopped on, judged on and adapted to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.alignment.batches import Batch, check_source_batches, cut_batches
from orchestrator.alignment.scores import ScoreRequest
from orchestrator.config.subjects import resolve_subjects
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.plan.source import (
    SourcePlan,
    check_scored,
    in_order,
    plan_source,
    recordings_of,
    subjects_of,
)
from orchestrator.methods.selective.config.sweep import SelectiveSweep, check_objective
from orchestrator.psg.feed import (
    StoredRecording,
    check_modality,
    signal_epochs,
    stored_recordings,
    usable_epochs,
)
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """The recordings of a sweep by role, and its batches. No two roles share a subject."""

    sweep: SelectiveSweep
    train: tuple[StoredRecording, ...]
    """Source recordings that pretraining and finetuning may learn from."""
    early_stop: tuple[StoredRecording, ...]
    """Source recordings of the one subject that stops pretraining."""
    source_validation: tuple[StoredRecording, ...]
    """Source recordings of the other held-out subjects: objective ``source_val``."""
    target_validation: tuple[StoredRecording, ...]
    """Target recordings of the objective ``oracle_target_val``; empty for ``source_val``."""
    target_test: tuple[StoredRecording, ...]
    """Target recordings that the final table is about."""
    source_batches: tuple[Batch, ...]
    """Of all source recordings, the held-out ones too: those are scored and shown, never trained on."""
    target_batches: tuple[Batch, ...]

    @property
    def source(self) -> tuple[StoredRecording, ...]:
        """All source recordings, sorted."""
        return in_order((*self.train, *self.early_stop, *self.source_validation))

    @property
    def target(self) -> tuple[StoredRecording, ...]:
        """All target recordings, sorted."""
        return in_order((*self.target_validation, *self.target_test))

    @property
    def objective_recordings(self) -> tuple[StoredRecording, ...]:
        """Recordings whose predictions give the objective."""
        return self.target_validation or self.source_validation

    @property
    def selectable(self) -> tuple[int, ...]:
        """Ids of the source batches that a tau chooses from."""
        train = {(r.subject, r.recording) for r in self.train}
        return tuple(b.batch_id for b in self.source_batches if (b.subject, b.recording) in train)

    @property
    def transductive(self) -> bool:
        """One target subject: it is adapted to and judged on, and there is no interval over subjects."""
        return len({r.subject for r in self.target}) == 1

    def encoder_request(self) -> EncoderRequest:
        """Return what the encoder of this sweep depends on."""
        sweep = self.sweep
        return EncoderRequest(
            encoder=sweep.encoder,
            pretrain=sweep.pretrain,
            stages=sweep.stages,
            modality=sweep.modality,
            seed=sweep.seed,
            train=self.train,
            early_stop=self.early_stop,
        )

    def score_request(self, encoder_id: str) -> ScoreRequest:
        """Return what the score table of this sweep depends on."""
        score = self.sweep.score
        return ScoreRequest(
            encoder_id=encoder_id,
            layer=score.layer,
            metric=score.metric,
            standardise=score.standardise,
            batch_size=self.sweep.batch_size,
            source=self.source,
            target=self.target,
            source_batches=self.source_batches,
            target_batches=self.target_batches,
            statistics=self.selectable,
        )


def plan_sweep(sweep: SelectiveSweep, store: Store) -> SweepPlan:
    """Resolve the subjects of a sweep and cut its batches.

    Raises
    ------
    ConfigError
        An unknown data set, subject or modality, a subject in two roles, or too few batches or validation subjects.
    """
    target = sweep.target
    source = plan_source(sweep.source, sweep.modality, store)
    target_recordings = stored_recordings(store, target.dataset)
    adapted_to = resolve_subjects(target.subjects, target.exclude, subjects_of(target_recordings))
    check_objective(sweep, adapted_to)
    judged_on = resolve_subjects(target.validation, (), adapted_to) if target.validation else []
    tested = [subject for subject in adapted_to if subject not in judged_on]
    _check_roles(sweep, source, adapted_to)
    plan = SweepPlan(
        sweep=sweep,
        train=source.train,
        early_stop=source.early_stop,
        source_validation=source.validation,
        target_validation=recordings_of(target_recordings, judged_on),
        target_test=recordings_of(target_recordings, tested),
        source_batches=(),
        target_batches=(),
    )
    check_modality(store, plan.target[0], sweep.modality)
    source_batches = cut_batches(
        [(r.subject, r.recording, usable_epochs(store, r)) for r in plan.source], sweep.batch_size
    )
    target_batches = cut_batches(
        [(r.subject, r.recording, signal_epochs(store, r)) for r in plan.target], sweep.batch_size
    )
    train = {(r.subject, r.recording) for r in plan.train}
    check_source_batches(
        sum((b.subject, b.recording) in train for b in source_batches), sweep.batch_size
    )
    if not target_batches:
        raise ConfigError(
            f"the target gives no batch of {sweep.batch_size} epochs that are not flat. Lower batch_size or add "
            "recordings."
        )
    check_scored(store, "target", plan.target_test)
    check_scored(store, "objective", plan.objective_recordings)
    return replace(plan, source_batches=tuple(source_batches), target_batches=tuple(target_batches))


def _check_roles(sweep: SelectiveSweep, source: SourcePlan, target: Sequence[str]) -> None:
    if sweep.source.dataset != sweep.target.dataset:
        return
    of_source = subjects_of((*source.train, *source.early_stop, *source.validation))
    both = sorted(set(of_source) & set(target))
    if both:
        raise ConfigError(
            f"{', '.join(both)} of data set {sweep.source.dataset!r} would be source and target. Add them to "
            "source.exclude, or take them out of target.subjects."
        )
