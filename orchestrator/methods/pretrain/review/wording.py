"""The sentences of a review of pretrainings. Pure."""

from collections.abc import Sequence

from orchestrator.methods.pretrain.results import TrialRow
from orchestrator.methods.pretrain.review.findings import TITLES, Findings
from orchestrator.reviews.formats import counted, number, rate, some


def value_text(name: str, value: float | None) -> str:
    """Value of a parameter as the page writes it.

    >>> value_text("dropout", 0.25), value_text("batch_size", 64), value_text("learning_rate", 0.001)
    ('0.25', '64', '1.0e\u221203')
    """
    if name in ("learning_rate", "weight_decay"):
        return rate(value)
    return number(value, 0 if name == "batch_size" else 2)


def settings_text(names: Sequence[str], trial: TrialRow) -> str:
    """Searched parameters of a trial in a row, as in ``dropout 0.50, batch size 64``."""
    return ", ".join(
        f"{TITLES.get(name, name)} {value_text(name, trial.params[name])}" for name in names
    )


def answer(found: Findings) -> str:
    """Say which settings are best by the objective, and what that is worth."""
    chosen, manifest = found.chosen, found.sweep.manifest
    if chosen is None:
        return "No trial finished with an objective, so this sweep says nothing about pretraining."
    said = (
        f"Of {counted(len(found.sweep.trials), 'trial')}, {chosen.trial} has the highest objective (macro-F1 on "
        f"{counted(len(found.subjects), 'held-out source subject')} {number(chosen.objective)}): "
        f"{settings_text(manifest.searched, chosen)}."
    )
    if len(found.subjects) > 1:
        said += (
            f" Subject by subject it is {number(chosen.mean_subject_macro_f1)} on average and "
            f"{number(chosen.lowest_subject_macro_f1)} at the lowest."
        )
    return f"{said} Always answering {manifest.majority.stage} has {number(manifest.majority.macro_f1)}."


def reading_notes(found: Findings) -> tuple[tuple[str, str], ...]:
    """Term and explanation."""
    stages = ", ".join(found.sweep.manifest.declared_stages)
    return (
        (
            "Trial",
            "One pretraining of the source encoder of SelectiveFinetuning; enqueued ones were written in the sweep "
            "file, the others proposed by the search. What a trial does not vary is as in the file.",
        ),
        (
            "Objective",
            f"Macro-F1 of the held-out source subjects, their epochs pooled: the plain mean of the F1 of {stages}. The "
            "subject that stops pretraining early is not among them. Method selective calls it source_val.",
        ),
        (
            "Lowest and mean of subjects",
            "Macro-F1 of each held-out subject by itself. A stage that a subject does not have counts with an F1 of 0, "
            "so these may be lower than the objective.",
        ),
        (
            "Best pass",
            "The pass through the training epochs with the best macro-F1 on the early-stop subject: the encoder has "
            "its weights. Passes and steps are those that were taken.",
        ),
        (
            "Encoder",
            "Id under which it is stored, made from the source epochs, stages, modality, seed and settings. Whatever "
            "sweep needs this encoder finds it.",
        ),
    )


def provenance(found: Findings) -> tuple[tuple[str, str], ...]:
    """Term and value; what somebody needs to find the artefacts behind the page."""
    manifest = found.sweep.manifest
    counts = ", ".join(
        f"{s} {manifest.train_stage_counts.get(s, 0)}" for s in manifest.declared_stages
    )
    return (
        ("Method", manifest.method),
        ("Data set", manifest.dataset),
        ("Modality", manifest.modality),
        ("Trained on", f"{len(manifest.train_subjects)}: {some(manifest.train_subjects)}"),
        ("Training epochs", f"{manifest.n_train_epochs}: {counts}"),
        (
            "Early stop",
            f"{some(manifest.early_stop_subjects)}; {manifest.n_early_stop_epochs} epochs",
        ),
        (
            "Objective",
            f"{some(manifest.objective_subjects)}; {manifest.n_objective_epochs} scored epochs",
        ),
        ("Seed", str(manifest.seed)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(manifest.versions.items()))),
    )
