"""A finished sweep in the store -> ``reviews/<name>/``: one self-contained page, figures and tables.

The only file of the review that reads and writes; what it shows is decided in ``statistics.py`` and said
in ``wording.py``. Nothing depends on the time or the machine: the same sweep gives the same bytes.
"""

import base64
import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError
from orchestrator.review import plots, statistics, tau, wording
from orchestrator.review.records import (
    Batch,
    Manifest,
    Trial,
    read_batches,
    read_manifest,
    read_trials,
)
from orchestrator.store import paths
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a review is made from."""

    manifest: Manifest
    trials: tuple[Trial, ...]
    batches: tuple[Batch, ...]


def write_review(store: Store, name: str) -> str:
    """Write the review of a finished sweep and return the URI of its page.

    Writes ``review.html``, ``tau_curve.png``, ``tau_curve.csv``, ``trials.csv``, ``rewards.png`` and
    ``rewards.csv`` under ``reviews/<name>/``, the page last: where it is, the others are.

    Raises
    ------
    ConfigError
        There is no sweep of that name (the message lists those there are), or it has not finished.
    DataError
        Its tables were written by another version.
    """
    sweep = read_sweep(store, name)
    for filename, data in review_files(sweep).items():
        store.write_bytes(paths.review(name, filename), data)
    return store.uri_of(paths.review(name, "review.html"))


def read_sweep(store: Store, name: str) -> Sweep:
    """Read trials, batches and manifest of a finished sweep; errors as in :func:`write_review`."""
    if not store.exists(paths.sweep_trials(name)):
        raise ConfigError(_no_sweep(name, store))
    return Sweep(
        manifest=read_manifest(store.read_bytes(paths.sweep_manifest(name))),
        trials=read_trials(store.read_table(paths.sweep_trials(name)).to_pylist()),
        batches=read_batches(store.read_table(paths.sweep_batches(name)).to_pylist()),
    )


def review_files(sweep: Sweep) -> dict[str, bytes]:
    """File name -> content of everything in a review, ``review.html`` last."""
    rows = tau.curve_rows(sweep.trials)
    chosen = statistics.chosen_trial(sweep.trials)
    tau_curve_png = plots.tau_curve_png(rows, sweep.manifest, chosen)
    rewards_png = plots.rewards_png(sweep.batches, sweep.manifest, chosen)
    return {
        "tau_curve.png": tau_curve_png,
        "tau_curve.csv": _csv(tau.CURVE_COLUMNS, rows),
        "trials.csv": _csv([field.name for field in fields(Trial)], sweep.trials),
        "rewards.png": rewards_png,
        "rewards.csv": _csv([field.name for field in fields(Batch)], sweep.batches),
        "review.html": render_page(sweep, tau_curve_png, rewards_png).encode(),
    }


def render_page(sweep: Sweep, tau_curve_png: bytes, rewards_png: bytes) -> str:
    """The page as HTML that needs no other file; all text from the sweep is escaped."""
    manifest, trials = sweep.manifest, sweep.trials
    chosen = statistics.chosen_trial(trials)
    comparisons = statistics.compare_with_arms(trials, chosen)
    evaluated = {
        stage: manifest.target_stage_counts.get(stage, 0) for stage in manifest.declared_stages
    }
    shares = statistics.stage_shares(sweep.batches, chosen, evaluated)
    agreement = statistics.objective_agreement(trials, chosen)
    return _template().render(
        manifest=manifest,
        chosen=chosen,
        comparisons=comparisons,
        shares=shares,
        answer=wording.answer(chosen, statistics.tau_sensitivity(trials), comparisons),
        cautions=wording.cautions(manifest, trials, chosen, comparisons, shares, agreement),
        interval_note=wording.interval_note(manifest),
        ranking=statistics.ranking_against_chance(trials),
        reading_notes=wording.reading_notes(manifest),
        provenance=_provenance(manifest),
        target_subjects=_some(manifest.target_subjects),
        trials=_by_objective(t for t in trials if not t.is_arm),
        arms=[t for t in trials if t.is_arm],
        tau_curve_png=base64.b64encode(tau_curve_png).decode(),
        rewards_png=base64.b64encode(rewards_png).decode(),
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("orchestrator.review", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.number,
        "signed": wording.signed,
        "significant": wording.significant,
        "rate": wording.rate,
        "percent": wording.percent,
        "counted": wording.counted,
        "or_dash": lambda value: wording.DASH if value is None else value,
    }
    return environment.get_template("review.html.j2")


def _by_objective(trials: Iterable[Trial]) -> list[Trial]:
    """Highest objective first; without one, at the end."""
    return sorted(
        trials,
        key=lambda t: (
            math.inf if t.objective is None else -t.objective,
            not t.is_complete,
            t.trial,
        ),
    )


def _provenance(manifest: Manifest) -> list[tuple[str, str]]:
    """Term and value; what somebody needs to find the artefacts behind the page."""
    pretrain = manifest.pretrain
    return [
        ("Method", manifest.method),
        ("Encoder", manifest.encoder_id),
        (
            "Pretraining",
            f"{_count(pretrain.get('n_steps'))} steps, {_count(pretrain.get('n_passes'))} passes; "
            "macro-F1 on held-out source subjects "
            f"{wording.number(pretrain.get('source_val_macro_f1'))}, always answering the most "
            f"frequent stage {wording.number(pretrain.get('majority_macro_f1'))}",
        ),
        ("Score table", manifest.score_id),
        ("Features", f"layer {manifest.layer}"),
        ("Distance", f"EMD, {manifest.metric}; {manifest.aggregate} over the target batches"),
        ("Batches", f"{manifest.batch_size} epochs each; {_batch_counts(manifest)}"),
        (
            "Finetuning",
            f"{manifest.n_steps} steps in every trial and trained arm; default learning rate "
            f"{wording.rate(manifest.default_learning_rate)}",
        ),
        ("Seed", str(manifest.seed)),
        ("Source subjects", _some(manifest.source_subjects)),
        ("Held out for validation", _some(manifest.validation_subjects)),
        ("Held out for early stop", manifest.early_stop_subject or wording.DASH),
        ("Target subjects", _some(manifest.target_subjects)),
        (
            "Target epochs",
            f"{manifest.n_target_epochs} unlabelled for the EMD, "
            f"{manifest.target_evaluation_epochs} with their stages for the final table",
        ),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(manifest.versions.items()))),
    ]


def _batch_counts(manifest: Manifest) -> str:
    return (
        f"{manifest.n_source_batches} source, {manifest.n_selectable} of them selectable; "
        f"{manifest.n_target_batches} target"
    )


def _count(value: float | None) -> str:
    return wording.DASH if value is None else f"{value:.0f}"


def _some(names: Sequence[str], at_most: int = 40) -> str:
    """Names in a row; a large data set is counted after the first ones."""
    shown = ", ".join(names[:at_most]) or wording.DASH
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"


def _csv(columns: Sequence[str], rows: Iterable[object]) -> bytes:
    """Rows as CSV: no value is an empty cell, floats keep every digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(getattr(row, column)) for column in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_sweep(name: str, store: Store) -> str:
    started = store.folders(paths.SWEEPS)
    finished = [other for other in started if store.exists(paths.sweep_trials(other))]
    if name in started:
        return (
            f"sweep {name!r} in {store.uri} has not finished: there is no "
            f"{paths.sweep_trials(name)}. Run 'orchestrator sweep' with its file again; it goes "
            "on where it stopped."
        )
    if not finished:
        return (
            f"there is no sweep {name!r} in {store.uri}, nor any other. Run 'orchestrator sweep' "
            "first, or give another store with --store."
        )
    return (
        f"there is no sweep {name!r} in {store.uri}.{did_you_mean(name, finished)} "
        f"There are: {', '.join(finished)}."
    )
