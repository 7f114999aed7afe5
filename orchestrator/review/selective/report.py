"""A selective sweep -> the files of its review. Reads the store; `orchestrator.review.report` writes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.config.objectives import OBJECTIVES
from orchestrator.review.formats import DASH, number, range_text, rate, some
from orchestrator.review.page import records_csv, rows_csv, template
from orchestrator.review.selective import statistics, tau, wording
from orchestrator.review.selective.cautions import cautions
from orchestrator.review.selective.records import Manifest, read_batches, read_manifest, read_trials
from orchestrator.review.selective.rewards_plot import rewards_png
from orchestrator.review.selective.tau_plot import tau_curve_png
from orchestrator.review.trials import front_of
from orchestrator.store import paths
from orchestrator.store.provenance import OtherCode, encoders_of_other_code, recorded_code
from orchestrator.store.store import Store
from orchestrator.tables.selective import BatchRow, TrialRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a review is made from."""

    manifest: Manifest
    trials: tuple[TrialRow, ...]
    batches: tuple[BatchRow, ...]
    other_code: tuple[OtherCode, ...]
    """The encoder, where other code trained it than the sweep began with."""


def review_files(store: Store, name: str) -> dict[str, bytes]:
    """File name -> content: ``review.html``, and PNG and CSV of the tau curve, the rewards and the trials.

    Raises
    ------
    DataError
        The tables of the sweep were written by another version.
    """
    sweep = read_sweep(store, name)
    rows = tau.curve_rows(sweep.trials)
    chosen = statistics.chosen_trial(sweep.trials)
    curve = tau_curve_png(rows, sweep.manifest, chosen, statistics.n_runs(sweep.trials))
    rewards = rewards_png(sweep.batches, sweep.manifest, chosen)
    return {
        "tau_curve.png": curve,
        "tau_curve.csv": records_csv(tau.CURVE_COLUMNS, rows),
        "trials.csv": rows_csv(TrialRow, sweep.trials),
        "rewards.png": rewards,
        "rewards.csv": rows_csv(BatchRow, sweep.batches),
        "review.html": render_page(sweep, curve, rewards).encode(),
    }


def read_sweep(store: Store, name: str) -> Sweep:
    """Read trials, batches and manifest of a finished sweep; errors as in :func:`review_files`."""
    manifest = read_manifest(store.read_bytes(paths.sweep_manifest(name)))
    return Sweep(
        manifest=manifest,
        trials=read_trials(store.read_table(paths.sweep_trials(name)).to_pylist()),
        batches=read_batches(store.read_table(paths.sweep_batches(name)).to_pylist()),
        other_code=encoders_of_other_code(
            store, recorded_code(store, paths.sweep_manifest(name)), [manifest.encoder_id]
        ),
    )


def render_page(sweep: Sweep, tau_curve: bytes, rewards: bytes) -> str:
    """The page as HTML that needs no other file."""
    manifest, trials = sweep.manifest, sweep.trials
    chosen = statistics.chosen_trial(trials)
    comparisons = statistics.compare_with_arms(trials, chosen)
    evaluated = {
        stage: manifest.target_stage_counts.get(stage, 0) for stage in manifest.declared_stages
    }
    shares = statistics.stage_shares(sweep.batches, chosen, evaluated)
    agreement = statistics.objective_agreement(trials, chosen)
    others = statistics.other_steps(trials, manifest.n_steps)
    n_runs = statistics.n_runs(trials)
    return template("selective/page.html.j2").render(
        manifest=manifest,
        chosen=chosen,
        compared=wording.settings_of(chosen, comparisons, others) if chosen else "chosen trial",
        comparisons=[(c, wording.difference_note(c, n_runs)) for c in comparisons],
        runs=wording.runs(n_runs),
        shares=shares,
        answer=wording.answer(chosen, statistics.tau_range(trials, manifest), comparisons, n_runs),
        cautions=cautions(
            manifest, trials, chosen, comparisons, shares, agreement, n_runs, sweep.other_code
        ),
        interval_note=wording.interval_note(manifest, n_runs),
        ranking=statistics.ranking_against_chance(trials),
        reading_notes=wording.reading_notes(manifest, others, [c.arm for c in comparisons]),
        provenance=_provenance(manifest, others),
        other_steps=others,
        other_rates=statistics.other_rates(trials, manifest.default_learning_rate),
        target_subjects=some(manifest.target_subjects),
        trials=_by_objective(t for t in trials if not t.is_arm),
        front=front_of(trials),
        objectives=OBJECTIVES,
        arms=[t for t in trials if t.is_arm],
        tau_curve=tau_curve,
        rewards=rewards,
    )


def _by_objective(trials: Iterable[TrialRow]) -> list[TrialRow]:
    """Highest objective first; without one, at the end."""
    return sorted(
        trials,
        key=lambda t: (
            math.inf if t.objective is None else -t.objective,
            not t.is_complete,
            t.trial,
        ),
    )


def _provenance(manifest: Manifest, other_steps: tuple[int, int] | None) -> list[tuple[str, str]]:
    """Term and value; what somebody needs to find the artefacts behind the page."""
    pretrain = manifest.pretrain
    return [
        ("Method", manifest.method),
        ("Encoder", manifest.encoder_id),
        (
            "Pretraining",
            f"{_count(pretrain.get('n_steps'))} steps, {_count(pretrain.get('n_passes'))} passes; "
            "macro-F1 on held-out source subjects "
            f"{number(pretrain.get('source_val_macro_f1'))}, always answering the most "
            f"frequent stage {number(pretrain.get('majority_macro_f1'))}",
        ),
        ("Score table", manifest.score_id),
        ("Features", f"layer {manifest.layer}"),
        ("Distance", f"EMD, {manifest.metric}; {manifest.aggregate} over the target batches"),
        ("Batches", f"{manifest.batch_size} epochs each; {_batch_counts(manifest)}"),
        (
            "Finetuning",
            f"{_steps(manifest, other_steps)}; default learning rate "
            f"{rate(manifest.default_learning_rate)}",
        ),
        ("Seed", str(manifest.seed)),
        ("Source subjects", some(manifest.source_subjects)),
        ("Held out for validation", some(manifest.validation_subjects)),
        ("Held out for early stop", manifest.early_stop_subject or DASH),
        ("Target subjects", some(manifest.target_subjects)),
        (
            "Target epochs",
            f"{manifest.n_target_epochs} unlabelled for the EMD, "
            f"{manifest.target_evaluation_epochs} with their stages for the final table",
        ),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(manifest.versions.items()))),
    ]


def _steps(manifest: Manifest, other_steps: tuple[int, int] | None) -> str:
    if other_steps is None:
        return f"{manifest.n_steps} steps in every trial and trained arm"
    return (
        f"{manifest.n_steps} steps in trained arms and enqueued trials, {range_text(other_steps)} in "
        "sampled ones"
    )


def _batch_counts(manifest: Manifest) -> str:
    return (
        f"{manifest.n_source_batches} source, {manifest.n_selectable} of them selectable; "
        f"{manifest.n_target_batches} target"
    )


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"
