"""The sentences of a sleepmg review: title, answer and captions. Pure."""

from collections.abc import Sequence

from orchestrator.methods.sleepmg.review.comparisons import Comparison
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.methods.sleepmg.review.findings import Findings, steps_per_fold
from orchestrator.methods.sleepmg.review.parameters import settings_text
from orchestrator.methods.sleepmg.review.records import Manifest
from orchestrator.reviews.formats import counted, listed, number, range_text, signed, spread
from orchestrator.reviews.verdicts import Verdict

VERBS = {
    Verdict.HELPED: "helped",
    Verdict.HURT: "hurt",
    Verdict.NO_DIFFERENCE: "made no difference",
    Verdict.UNCLEAR: "cannot be told from chance",
}
"""What an entry did, in the order of the answer."""

MOST_NAMED = 4
"""Rows that one clause of the answer names; further ones are counted."""


def title(found: Findings) -> str:
    """Question that the page answers."""
    return "Which balance, which lambda?" if found.is_search else "Which parts matter?"


def answer(found: Findings) -> str:
    """Say what is best by the rule of the sweep, and how it compares, in two or three sentences."""
    return _answer_of_search(found) if found.is_search else _answer_of_rows(found)


def _answer_of_search(found: Findings) -> str:
    if found.chosen is None:
        return (
            "No trial finished with an objective, so this sweep says nothing about its parameters."
        )
    (trial,) = found.chosen.runs
    said = (
        f"Of {counted(found.n_trials, 'trial')}, {trial.trial} has the highest objective (validation macro-F1 "
        f"{number(trial.objective)}): {settings_text(found.sweep.manifest.searched, trial)}. Its test macro-F1 is "
        f"{number(trial.test_macro_f1)}"
    )
    clauses = [
        f"{VERBS[verdict]} compared with {_named([(c.control, c) for c in judged])}"
        for verdict, judged in _by_verdict(found.comparisons)
    ]
    return f"{said}: it {listed(clauses)}." if clauses else f"{said}."


def _answer_of_rows(found: Findings) -> str:
    if not found.ranked or found.reference is None:
        return "No row finished, so this sweep says nothing about its parts."
    best = found.ranked[0]
    n_seeds = len(best.runs)
    value = spread(best.mean("test_macro_f1"), best.sd("test_macro_f1"))
    over = f"mean and SD over {n_seeds} seeds" if n_seeds > 1 else "one seed"
    said = f"Of {counted(len(found.rows), 'row')}, {best.name} has the highest test macro-F1, {value} ({over})."
    clauses = [
        f"{_named([(c.entry, c) for c in _largest_first(judged)])} {VERBS[verdict]}"
        for verdict, judged in _by_verdict(found.comparisons)
    ]
    if not clauses:
        return said
    return f"{said} Compared with {found.reference.name}: {'; '.join(clauses)}."


def _by_verdict(comparisons: Sequence[Comparison]) -> list[tuple[Verdict, list[Comparison]]]:
    groups = [(verdict, [c for c in comparisons if c.verdict is verdict]) for verdict in VERBS]
    return [(verdict, group) for verdict, group in groups if group]


def _largest_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda c: -(c.difference or 0.0))


def _named(pairs: Sequence[tuple[Entry, Comparison]]) -> str:
    """Names with their differences; many are counted after the first ones."""
    names = [f"{entry.name} ({signed(c.difference)})" for entry, c in pairs]
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return listed(names)


def comparison_note(found: Findings) -> str:
    """Say what the columns of the comparison are computed from."""
    who = (
        f"{found.chosen.name} minus the row"
        if found.chosen
        else f"Row minus {found.reference.name}, the first finished row of the sweep file"
        if found.reference
        else "Nothing could be compared"
    )
    return (
        f"{who}. Difference: in macro-F1 pooled over the test subjects of all folds, means over seeds. Over "
        "subjects: mean of the same difference taken subject by subject, with its 95\u00a0% bootstrap interval and a "
        "two-sided Wilcoxon signed-rank test, not corrected for the number of rows. Subjects of one cross-validation "
        "share training data, so interval and p look surer than they are."
    )


def balance_caption(found: Findings) -> str:
    """Caption of the figure of ratios and coefficients."""
    if found.traced is None:
        return ""
    seeds = counted(len(found.traced.runs), "seed")
    folds = max((point.n_folds for point in found.traces), default=0)
    return (
        f"{found.traced.name}: mean over {folds} trainings (folds of {seeds}), shaded: one SD to either side. A "
        "training that stopped early is missing from later passes. Numbers:"
    )


def confusion_title(manifest: Manifest) -> str:
    """Title of the figure of confusion matrices."""
    return manifest.figure or f"Confusion matrices of {manifest.name}"


def confusion_caption(found: Findings) -> str:
    """Caption of the figure of confusion matrices, without the notes on its rows."""
    steps = steps_per_fold(found.shown, found.sweep.folds)
    several = any(len(entry.runs) > 1 for entry in found.shown)
    said = (
        "Rows: true stage, columns: predicted. Each cell holds the number of test epochs, pooled over "
        f"{counted(found.sweep.manifest.folds.n_folds, 'fold')}"
        f"{', counts of the seeds summed' if several else ''}, and the per cent of its row, which the shade shows. "
        f"Accuracy, macro-F1 and kappa are those of the pooled epochs{', mean ± SD over seeds' if several else ''}. "
    )
    return f"{said}Steps per fold: {range_text(steps)}."


def ours_notes(found: Findings) -> tuple[tuple[str, str], ...]:
    """Rows of the figure with what about them is a reconstruction."""
    return tuple((entry.name, entry.ours) for entry in found.shown if entry.ours)


def ours_lead(found: Findings) -> str:
    """Sentence before those notes."""
    rows = [entry for entry in found.shown if entry.is_row]
    ours = ours_notes(found)
    if not ours:
        return "No row of this figure is marked in the sweep file as ours."
    if len(ours) == len(rows):
        return "What is ours in each row, since the supplement's own list did not survive:"
    return "Rows that are ours, since the supplement's own list did not survive:"
