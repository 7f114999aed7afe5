"""A selective sweep -> the files of its review. Reads the store; `orchestrator.reviews.report` writes."""

import math
from collections.abc import Iterable, Mapping

from orchestrator.methods.selective.config.objectives import FURTHER
from orchestrator.methods.selective.results import BatchRow, TrialRow
from orchestrator.methods.selective.review import statistics, tau, wording
from orchestrator.methods.selective.review.cautions import cautions
from orchestrator.methods.selective.review.findings import Findings, find
from orchestrator.methods.selective.review.records import Manifest, read_sweep
from orchestrator.methods.selective.review.rewards_plot import rewards_png
from orchestrator.methods.selective.review.tau_plot import tau_curve_png
from orchestrator.reviews.formats import DASH, number, range_text, rate, some
from orchestrator.reviews.page import Figure, Section, drawn, records_csv, rendered, rows_csv
from orchestrator.reviews.trials import front_of
from orchestrator.store.store import Store

_OWN = "methods/selective/review/sections"

TAU_CURVE: Figure[Findings] = Figure(
    file="tau_curve.png",
    alt=lambda _: (
        "Tau curve: target macro-F1 and objective against tau_quantile, with control arms and the number of source "
        "batches kept. The numbers are in tau_curve.csv."
    ),
    draw=lambda found: tau_curve_png(found.curve, found.sweep.manifest, found.chosen, found.n_runs),
    template=f"{_OWN}/tau_curve.html.j2",
)
REWARDS: Figure[Findings] = Figure(
    file="rewards.png",
    alt=lambda found: (
        f"Mean EMD of every source batch, grouped by subject, {_groups(found)}. The numbers are in rewards.csv."
    ),
    draw=lambda found: rewards_png(found.sweep.batches, found.sweep.manifest, found.chosen),
    template=f"{_OWN}/rewards.html.j2",
)

SECTIONS: tuple[Section[Findings], ...] = (
    f"{_OWN}/header.html.j2",
    f"{_OWN}/answer.html.j2",
    TAU_CURVE,
    f"{_OWN}/arms.html.j2",
    f"{_OWN}/unjudged.html.j2",
    "reviews/sections/limits.html.j2",
    f"{_OWN}/stages.html.j2",
    f"{_OWN}/trials.html.j2",
    f"{_OWN}/tradeoffs.html.j2",
    REWARDS,
    "reviews/sections/reading.html.j2",
    "reviews/sections/provenance.html.j2",
    "reviews/sections/predict.html.j2",
)
"""The page, from top to bottom."""


def _groups(found: Findings) -> str:
    """What the figure of the rewards tells apart."""
    alone = found.sweep.manifest.adapts_to_subjects
    return "selectable and held out" if alone else "kept, not kept and held out"


def review_files(store: Store, name: str) -> dict[str, bytes]:
    """File name -> content: ``review.html``, and PNG and CSV of the tau curve, the rewards and the trials.

    Raises
    ------
    DataError
        The tables of the sweep were written by another version.
    """
    found = find(read_sweep(store, name))
    pictures = drawn(SECTIONS, found)
    return {
        **pictures,
        "tau_curve.csv": records_csv(tau.CURVE_COLUMNS, found.curve),
        "trials.csv": rows_csv(TrialRow, found.sweep.trials),
        "rewards.csv": rows_csv(BatchRow, found.sweep.batches),
        "review.html": render_page(found, pictures).encode(),
    }


def render_page(found: Findings, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file.

    Parameters
    ----------
    found : Findings
    pictures : mapping of str to bytes
        File name -> PNG.
    """
    manifest, trials = found.sweep.manifest, found.sweep.trials
    chosen, comparisons, others = found.chosen, found.comparisons, found.other_steps
    return rendered(
        SECTIONS,
        found,
        pictures,
        title=manifest.name,
        manifest=manifest,
        chosen=chosen,
        chosen_is_kept=chosen is not None and chosen.trial in found.sweep.kept,
        compared=wording.settings_of(chosen, comparisons, others) if chosen else "chosen trial",
        comparisons=[(c, wording.difference_note(c, found.n_runs)) for c in comparisons],
        runs=wording.runs(found.n_runs),
        shares=found.shares,
        answer=wording.answer(
            chosen,
            statistics.tau_range(trials, manifest),
            comparisons,
            found.n_runs,
            judged=manifest.target_is_labelled,
            n_alone=wording.n_alone(manifest),
        ),
        counts_note=wording.counts_note(manifest),
        curve_caption=wording.curve_caption(manifest),
        cautions=cautions(
            manifest,
            trials,
            chosen,
            comparisons,
            found.shares,
            found.agreement,
            found.n_runs,
            found.sweep.other_code,
        ),
        interval_note=wording.interval_note(manifest, found.n_runs),
        ranking=statistics.ranking_against_chance(trials),
        reading_notes=wording.reading_notes(manifest, others, [c.arm for c in comparisons]),
        provenance=_provenance(manifest, others),
        other_steps=others,
        other_rates=statistics.other_rates(trials, manifest.default_learning_rate),
        target_subjects=some(manifest.target_subjects),
        trials=_by_objective(t for t in trials if not t.is_arm),
        front=front_of(trials),
        objectives=FURTHER,
        arms=[t for t in trials if t.is_arm],
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
        (
            "Distance",
            f"EMD, {manifest.metric}; {manifest.aggregate} over {_compared_with(manifest)}",
        ),
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
        *_adapted_to(manifest),
        (
            "Target epochs",
            f"{manifest.n_target_epochs} unlabelled for the EMD, "
            f"{manifest.target_evaluation_epochs} with their stages for the final table",
        ),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(manifest.versions.items()))),
    ]


def _compared_with(manifest: Manifest) -> str:
    """Which target batches a distance is over."""
    if manifest.adapts_to_subjects:
        return "the target batches of each subject by itself"
    return "the target batches"


def _adapted_to(manifest: Manifest) -> list[tuple[str, str]]:
    """Who was adapted to, where that was not those who are judged."""
    adapted = manifest.target_adapt_subjects
    if adapted is None or set(adapted) == set(manifest.target_subjects):
        return []
    return [("Adapted to", some(adapted))]


def _steps(manifest: Manifest, other_steps: tuple[int, int] | None) -> str:
    of_each = " for each model" if manifest.adapts_to_subjects else ""
    if other_steps is None:
        return f"{manifest.n_steps} steps{of_each} in every trial and trained arm"
    return (
        f"{manifest.n_steps} steps{of_each} in trained arms and enqueued trials, {range_text(other_steps)} in "
        "sampled ones"
    )


def _batch_counts(manifest: Manifest) -> str:
    return (
        f"{manifest.n_source_batches} source, {manifest.n_selectable} of them selectable; "
        f"{manifest.n_target_batches} target"
    )


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"
