"""The sentences of a selective review: the answer, and how to read it. Pure."""

from collections.abc import Sequence

from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.methods.selective.review.statistics import (
    STRONG_SENSITIVITY,
    Comparison,
    TauRange,
)
from orchestrator.reviews.formats import (
    DASH,
    counted,
    listed,
    number,
    percent,
    rate,
    signed,
    significant,
)
from orchestrator.reviews.verdicts import NO_DIFFERENCE


def domains(manifest: Manifest) -> str:
    """Source and target, for the line below a title."""
    target = manifest.target_subjects
    subjects = target[0] if len(target) == 1 else f"{len(target)} subjects"
    return (
        f"source {manifest.source_dataset} ({counted(len(manifest.source_subjects), 'subject')}), "
        f"target {manifest.target_dataset} ({subjects})"
    )


def runs(n_runs: int) -> str:
    """What a number of this sweep is worth, to be said beside it.

    >>> runs(1), runs(3)
    ('one run each, may be chance', 'means of 3 runs each, no test was made')
    """
    if n_runs == 1:
        return "one run each, may be chance"
    return f"means of {n_runs} runs each, no test was made"


def answer(
    chosen: TrialRow | None,
    tau_range: TauRange | None,
    comparisons: Sequence[Comparison],
    n_runs: int,
    *,
    judged: bool = True,
    n_alone: int | None = None,
) -> str:
    """Say in one sentence what the taus reached, which one the objective chooses, and how it differs from the arms.

    Differences that mix selection with something else are left to the table, where they are marked. `n_alone` is the
    number of target subjects where each is adapted to by itself.
    """
    if chosen is None:
        return "No trial finished with an objective, so this sweep says nothing about tau."
    before = "" if judged else "Not judged: the target has no labels. "
    parts = [] if tau_range is None else [_range(tau_range, n_runs)]
    parts.append(
        f"{'the' if parts else 'The'} objective chooses tau_quantile {_tau(chosen)}{_by_own(n_alone)}, which keeps "
        f"{chosen.n_kept} of {chosen.n_selectable} source batches{_summed_over(n_alone)} "
        f"({percent(chosen.kept_fraction)})"
    )
    differences = [
        f"{signed(c.difference)} for {ARMS[c.arm].title}"
        for c in comparisons
        if c.difference is not None and not c.mixes
    ]
    if differences:
        parts.append(
            f"the target macro-F1 of this trial minus that of an arm is {listed(differences)}, {runs(n_runs)}"
        )
    return before + "; ".join(parts) + "."


def _tau(chosen: TrialRow) -> str:
    """Tau as a quantile, and on the reward where that is one value."""
    quantile = number(chosen.tau_quantile, 2)
    if chosen.tau_absolute is None:
        return quantile
    return f"{quantile}, R > {significant(chosen.tau_absolute)}"


def _by_own(n_alone: int | None) -> str:
    return "" if n_alone is None else " of each target subject's own rewards"


def _summed_over(n_alone: int | None) -> str:
    return "" if n_alone is None else f", summed over {counted(n_alone, 'target subject')}"


def n_alone(manifest: Manifest) -> int | None:
    """Return how many target subjects there are where each is adapted to by itself; None elsewhere."""
    return len(manifest.target_subjects) if manifest.adapts_to_subjects else None


def counts_note(manifest: Manifest) -> str:
    """Say how batches are counted where that is not plain.

    >>> from types import SimpleNamespace
    >>> counts_note(SimpleNamespace(adapts_to_subjects=True, target_subjects=["a", "b"]))
    'Each target subject has a selection and a model of its own: numbers of batches are sums over 2 target subjects.'
    """
    n_subjects = n_alone(manifest)
    if n_subjects is None:
        return ""
    return (
        "Each target subject has a selection and a model of its own: numbers of batches are sums over "
        f"{counted(n_subjects, 'target subject')}."
    )


def curve_caption(manifest: Manifest) -> str:
    """Say what the lines of the tau curve are."""
    if manifest.target_is_labelled:
        return manifest.about_objective.caption
    if not manifest.about_objective.is_drawn:
        return "The objective is on another scale and in the table alone; the target is not judged."
    return (
        f"The line is the objective ({manifest.about_objective.measure}); the target is not judged."
    )


def _range(found: TauRange, n_runs: int) -> str:
    """Target macro-F1 over the enqueued taus, and how sensitive that is where seeds do not explain it."""
    reached = (
        f"{number(found.lowest)}{DASH}{number(found.highest)} over {found.n_points} enqueued taus"
    )
    if found.sensitivity is None:
        return f"Target macro-F1 is {reached}, {runs(n_runs)}"
    return (
        f"Staging is {found.sensitivity} sensitive to tau: target macro-F1 is {reached}, means of {n_runs} runs each, "
        f"a range of {number(found.width)} beside 95\u00a0% intervals of their objectives over seeds no wider than "
        f"{number(found.seed_width)}"
    )


def settings_of(
    chosen: TrialRow, comparisons: Sequence[Comparison], other_steps: tuple[int, int] | None
) -> str:
    """The chosen trial for the head of the table of arms, with what it does not share with them."""
    said = [f"{chosen.n_steps} steps"] if other_steps else []
    if any("learning rate" in c.mixes for c in comparisons):
        said.append(f"learning rate {rate(chosen.learning_rate)}")
    return f"{chosen.trial} ({', '.join(said)})" if said else chosen.trial


def difference_note(comparison: Comparison, n_runs: int) -> str:
    """What limits a difference, or why there is none."""
    if comparison.state != "complete":
        return comparison.state
    if comparison.difference is None:
        return DASH
    mixed = f"; other {listed(comparison.mixes)}" if comparison.mixes else ""
    return f"{runs(n_runs)}{mixed}"


def interval_note(manifest: Manifest, n_seeds: int) -> str:
    """Say why the differences carry no interval."""
    n_subjects = len(manifest.target_subjects)
    if n_seeds > 1:
        subjects = (
            "One target subject" if n_subjects == 1 else f"{n_subjects} target subjects, pooled"
        )
        return (
            f"{subjects}; means over {n_seeds} seeds from {manifest.seed} on, of trials and of arms. A difference has "
            "no interval, and no test was made; the interval of the objective over seeds is in the table of trials."
        )
    if n_subjects == 1:
        return (
            f"One target subject and one seed ({manifest.seed}): there is no interval, neither "
            "over subjects nor over seeds. Each difference is a single observation and may be "
            "chance."
        )
    return (
        f"One seed ({manifest.seed}), and the metric pools the epochs of {n_subjects} target "
        "subjects: there is no interval. Each difference is a single observation and may be "
        "chance."
    )


def reading_notes(
    manifest: Manifest, other_steps: tuple[int, int] | None, arms: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Term and explanation, for the foot of the page.

    Parameters
    ----------
    manifest : Manifest
    other_steps : (int, int) or None
        See :func:`orchestrator.methods.selective.review.statistics.other_steps`.
    arms : sequence of str
        Names of those on the page.
    """
    as_many = "as many steps as every trial"
    if other_steps is not None:
        as_many = f"{manifest.n_steps} steps, as the enqueued trials were"
    notes = (
        (
            "Source batch",
            f"{manifest.batch_size} consecutive usable epochs (30 s each) of one recording. The "
            "unit that is kept or dropped, and one training batch in finetuning.",
        ),
        (
            "Reward and tau",
            "R = 1/EMD, where EMD is the earth mover's distance of a source batch to the "
            "target batches. A batch is kept when R > tau. tau_quantile p keeps the share 1 "
            "\u2212 p of the selectable batches with the highest reward; tau_absolute is the "
            "same cut on R, and it means nothing for another encoder.",
        ),
        *_each_subject(manifest),
        (
            "Chosen trial",
            f"The one with the highest objective ({manifest.objective}); the target metric plays "
            f"no part in choosing it.{manifest.about_objective.note}{_objective_of_models(manifest)}",
        ),
        (
            "Arms",
            _arms_explained(arms, as_many),
        ),
        (
            "Chosen trial minus arm",
            "In target macro-F1: a number, not a finding. Training with another seed may move it as "
            "far, and the chosen trial is the best of several by the objective where an arm is one "
            "configuration, so that chance alone can favour it. An arm that was finetuned for other "
            "steps or at another learning rate is marked, and is left out of the first sentence: the "
            "difference mixes selection with these.",
        ),
        (
            "Sensitive to tau",
            "Enqueued taus differ in tau alone, but each is trained anew, and training alone moves "
            "the target macro-F1. With one run each, nothing is said about sensitivity. With several "
            f"seeds staging is called hardly, moderately (from {number(NO_DIFFERENCE, 2)}) or strongly (from "
            f"{number(STRONG_SENSITIVITY, 2)}) sensitive where the range over the taus is wider than "
            "the widest 95\u00a0% interval of their mean objectives over seeds. That spread is known, the "
            "target's own is not, as only its mean is stored; where the objective is no macro-F1, there "
            "is no such word. The words are conventions.",
        ),
        (
            "What is reconstruction",
            "The method, R = 1/EMD and keeping R > tau, is that of the SelectiveFinetuning paper "
            "(arXiv 2501.03764). It publishes neither the value of tau, nor the layer of the "
            "features, nor the batch; batch, layer, distance to several target batches, learning "
            "rate and steps are choices made here, and the numbers on this page are not a "
            "reproduction of its tables.",
        ),
    )
    about_metrics = (
        () if manifest.target_is_labelled else ("Chosen trial minus arm", "Sensitive to tau")
    )
    return tuple(note for note in notes if note[0] not in about_metrics)


def _each_subject(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Say what is another for each target subject, where each is adapted to by itself."""
    if not manifest.adapts_to_subjects:
        return ()
    return (
        (
            "Each target subject by itself",
            "The rewards for a subject are those against its own target batches. The same tau selects from them for "
            "each subject, a model is finetuned on what it keeps, and predicts the epochs of this subject alone; the "
            "metric pools what these models predict. Numbers of kept and selectable batches, and shares of stages in "
            "them, are sums over the subjects. In arms the batches of all, or drawn by seed, are the same for each "
            "subject and make one model; the lowest rewards are each subject's own.",
        ),
    )


def _objective_of_models(manifest: Manifest) -> str:
    """What the objective is of, where each target subject has a model."""
    if not manifest.adapts_to_subjects:
        return ""
    if manifest.about_objective.reads == "target signals":
        if manifest.about_objective.is_drawn:
            return " It is computed from what each model says of its own subject, all subjects together."
        return " It is the mean over the target subjects, of the model and the epochs of each."
    return " It is the mean over the target subjects' models."


def _arms_explained(names: Sequence[str], as_many: str) -> str:
    """Say what each arm is; `as_many` names the steps of the finetuned ones."""
    untouched = [f"{name} is {ARMS[name].what}" for name in names if not ARMS[name].is_finetuned]
    finetuned = [name for name in names if ARMS[name].is_finetuned]
    if finetuned:
        batches = listed([f"on {ARMS[name].what}" for name in finetuned])
        untouched.append(
            f"{listed(finetuned)} {'is' if len(finetuned) == 1 else 'are'} finetuned for {as_many}, at the default "
            f"learning rate, {batches}"
        )
    return f"{'; '.join(untouched)}."
