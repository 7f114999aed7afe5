"""From a sweep file and the store's manifests to who is trained on, stopped on, judged on and adapted to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.alignment.batches import Batch, check_source_batches, cut_batches
from orchestrator.alignment.scores import ScoreRequest
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.plan.source import (
    SourcePlan,
    check_scored,
    in_order,
    is_scored,
    plan_source,
    recordings_of,
    subjects_of,
)
from orchestrator.methods.selective.config.objectives import OBJECTIVES
from orchestrator.methods.selective.config.sweep import SUBJECT, SelectiveSweep, check_objective
from orchestrator.psg.feed import (
    StoredRecording,
    check_modality,
    signal_epochs,
    stored_recordings,
    usable_epochs,
)
from orchestrator.store import paths
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import stored_sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """The recordings of a sweep by role, and its batches.

    No two roles share a subject, but for those of the target that are adapted to: these may be judged, too.
    """

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
    target_adapt: tuple[StoredRecording, ...]
    """Target recordings whose signals are adapted to: distances, and objectives without a label."""
    judged: bool
    """Whether a target recording to test on has an epoch that is scored and not flat."""
    source_batches: tuple[Batch, ...]
    """Of all source recordings, the held-out ones too: those are scored and shown, never trained on."""
    target_batches: tuple[Batch, ...]

    @property
    def source(self) -> tuple[StoredRecording, ...]:
        """All source recordings, sorted."""
        return in_order((*self.train, *self.early_stop, *self.source_validation))

    @property
    def tested_apart(self) -> tuple[StoredRecording, ...]:
        """Target recordings that are predicted and judged, and not adapted to, sorted."""
        predicted = {*self.target_validation, *self.target_test}
        return in_order(predicted - set(self.target_adapt))

    @property
    def tested_id(self) -> str | None:
        """Content id of `tested_apart`, which the score table knows nothing of; None where there is none."""
        apart = [[r.dataset, r.subject, r.recording, r.epochs_sha256] for r in self.tested_apart]
        return content_id({"tested": apart}) if apart else None

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
        """Whether a subject is judged whose signals were adapted to."""
        return not set(subjects_of(self.target_test)).isdisjoint(subjects_of(self.target_adapt))

    @property
    def adapted_alone(self) -> tuple[str, ...]:
        """Test subjects who are adapted to each by itself, sorted; none where the target is adapted to as a whole."""
        return tuple(subjects_of(self.target_test)) if self.sweep.adapt_to == SUBJECT else ()

    def target_batches_of(self, subject: str) -> tuple[int, ...]:
        """Return the ids of the target batches of one subject."""
        return tuple(b.batch_id for b in self.target_batches if b.subject == subject)

    def data_id(self, score_id: str) -> tuple[str, str]:
        """Return key and value of what a sweep began with: the score table, and epochs that are not in it."""
        if self.tested_id is None:
            return "score_id", score_id
        return "data_id", content_id({"score_id": score_id, "tested": self.tested_id})

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
            target=self.target_adapt,
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
    roles = target.roles(subjects_of(target_recordings))
    check_objective(sweep, roles)
    _check_roles(sweep, source, roles.subjects)
    target_test = recordings_of(target_recordings, roles.test)
    plan = SweepPlan(
        sweep=sweep,
        train=source.train,
        early_stop=source.early_stop,
        source_validation=source.validation,
        target_validation=recordings_of(target_recordings, roles.validation),
        target_test=target_test,
        target_adapt=recordings_of(target_recordings, roles.adapt),
        judged=is_scored(store, target_test),
        source_batches=(),
        target_batches=(),
    )
    for recordings in (plan.target_adapt, plan.target_test, plan.target_validation):
        for recording in recordings[:1]:  # all of a data set have the same
            check_modality(store, recording, sweep.modality)
    source_batches = cut_batches(
        [(r.subject, r.recording, usable_epochs(store, r)) for r in plan.source], sweep.batch_size
    )
    target_batches = cut_batches(
        [(r.subject, r.recording, signal_epochs(store, r)) for r in plan.target_adapt],
        sweep.batch_size,
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
    check_scored(store, "early-stop", plan.early_stop)
    _check_objective_is_scored(store, plan)
    if not any(len(signal_epochs(store, recording)) for recording in plan.target_test):
        raise ConfigError(
            f"every epoch of the target's test subjects ({', '.join(roles.test)}) is flat: nothing to stage."
        )
    plan = replace(plan, source_batches=tuple(source_batches), target_batches=tuple(target_batches))
    _check_each_has_a_batch(store, plan)
    _check_warm_start(store, sweep)
    return plan


def _check_each_has_a_batch(store: Store, plan: SweepPlan) -> None:
    """Refuse a subject who is adapted to alone and has nothing that a source batch could be compared with."""
    without = [each for each in plan.adapted_alone if not plan.target_batches_of(each)]
    if not without:
        return
    n_epochs = {
        each: max(len(signal_epochs(store, r)) for r in plan.target_test if r.subject == each)
        for each in without
    }
    named = ", ".join(f"{each} ({n} in the longest recording)" for each, n in n_epochs.items())
    raise ConfigError(
        f"sweep {plan.sweep.name}: with 'adapt_to: subject', each test subject needs a batch of "
        f"{plan.sweep.batch_size} epochs of one recording that are not flat; too few has {named}. Lower batch_size, "
        "add recordings, or name the subject in target.exclude."
    )


def _check_warm_start(store: Store, sweep: SelectiveSweep) -> None:
    """Refuse to learn from sweeps that adapt otherwise, unless this one has begun: then it has learned.

    Where each subject is adapted to by itself, a tau in one reading is another one for each of them in the others.
    """
    if store.exists(paths.sweep_journal(sweep.name)):
        return
    for name in sweep.search.warm_start:
        earlier = stored_sweep(store, name)
        if not isinstance(earlier, SelectiveSweep):
            continue
        adapts, mine = (f"adapt_to {each.adapt_to}" for each in (earlier, sweep))
        if adapts == mine and sweep.adapt_to == SUBJECT:
            adapts, mine = (each.search.space.tau_reading for each in (earlier, sweep))
        if adapts != mine:
            raise ConfigError(
                f"search.warm_start names {name!r}, which has {adapts}; this sweep has {mine}. Their values cannot be "
                "compared; remove the name."
            )


def _check_objective_is_scored(store: Store, plan: SweepPlan) -> None:
    name = plan.sweep.search.objective
    if OBJECTIVES[name].is_oracle and not is_scored(store, plan.target_validation):
        others = [other for other, objective in OBJECTIVES.items() if not objective.is_oracle]
        raise ConfigError(
            f"sweep {plan.sweep.name}: the objective {name} needs stages of "
            f"{', '.join(subjects_of(plan.target_validation))}, none of whose epochs is scored and not flat. "
            f"Objectives that read no stage of the target: {', '.join(others)}."
        )
    check_scored(store, "objective", plan.objective_recordings)


def _check_roles(sweep: SelectiveSweep, source: SourcePlan, target: Sequence[str]) -> None:
    if sweep.source.dataset != sweep.target.dataset:
        return
    of_source = subjects_of((*source.train, *source.early_stop, *source.validation))
    both = sorted(set(of_source) & set(target))
    if both:
        raise ConfigError(
            f"{', '.join(both)} of data set {sweep.source.dataset!r} would be source and target. Add them to "
            f"source.exclude, or take them out of target.{' and target.'.join(sweep.target.named_by)}."
        )
