"""Everything that a review of a selective sweep shows, found once for its page and its tables. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.review import statistics, tau
from orchestrator.methods.selective.review.records import Sweep
from orchestrator.methods.selective.review.said import Said, said_of_all, said_of_subjects
from orchestrator.methods.selective.review.statistics import Agreement, Comparison, StageShare
from orchestrator.methods.selective.review.tau import CurveRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What follows from the tables of a sweep."""

    sweep: Sweep
    chosen: TrialRow | None
    """Trial with the highest objective; None where no trial has one."""
    n_runs: int
    """Trainings behind each number: the seeds of a trial."""
    curve: Sequence[CurveRow]
    """Points of the tau curve, and the arms."""
    comparisons: Sequence[Comparison]
    """The chosen trial against each arm."""
    shares: Sequence[StageShare]
    """Stages in the selection."""
    agreement: Agreement | None
    """Of the objective with the target metric, over the trials."""
    said: Sequence[Said]
    """What the chosen trial and the arms say of the target, where it has no stages."""
    by_subject: Sequence[Said]
    """What the chosen trial says of each target subject, where these have no stages."""
    other_steps: tuple[int, int] | None
    """Fewest and most steps of the trials, where they are not those of the arms."""


def find(sweep: Sweep) -> Findings:
    """Find what a sweep shows."""
    manifest, trials = sweep.manifest, sweep.trials
    chosen = statistics.chosen_trial(trials)
    evaluated = {
        stage: manifest.target_stage_counts.get(stage, 0) for stage in manifest.declared_stages
    }
    return Findings(
        sweep=sweep,
        chosen=chosen,
        n_runs=statistics.n_runs(trials),
        curve=tau.curve_rows(trials),
        comparisons=statistics.compare_with_arms(trials, chosen),
        shares=statistics.stage_shares(sweep.batches, chosen, evaluated),
        agreement=statistics.objective_agreement(trials, chosen),
        said=() if manifest.target_is_labelled else said_of_all(sweep.predicted, trials, chosen),
        by_subject=()
        if manifest.target_is_labelled
        else said_of_subjects(sweep.predicted, trials, chosen),
        other_steps=statistics.other_steps(trials, manifest.n_steps),
    )
