"""The sentences of a selective review: the answer, and how to read it. Pure."""

from collections.abc import Sequence

from orchestrator.review.formats import DASH, counted, listed, number, percent, signed, significant
from orchestrator.review.selective.records import Manifest, Trial
from orchestrator.review.selective.statistics import STRONG_SENSITIVITY, Comparison, Sensitivity
from orchestrator.review.verdicts import NO_DIFFERENCE, Verdict

ARM_TITLES = {
    "no_adapt": "no adaptation",
    "all_source": "all source batches",
    "random": "a random half of the source batches",
}


_OBJECTIVES = {
    "target_emd": " This objective is minus the earth mover's distance of the source epochs that a "
    "tau chooses from to the target's, under the finetuned encoder and in units of each feature's "
    "spread over the source; no label is read. How it is taken is a choice made here.",
}
"""What an objective that is no macro-F1 and is of ours measures."""


def domains(manifest: Manifest) -> str:
    """Source and target, for the line below a title."""
    target = manifest.target_subjects
    subjects = target[0] if len(target) == 1 else f"{len(target)} subjects"
    return (
        f"source {manifest.source_dataset} ({counted(len(manifest.source_subjects), 'subject')}), "
        f"target {manifest.target_dataset} ({subjects})"
    )


def answer(
    chosen: Trial | None,
    sensitivity: Sensitivity | None,
    comparisons: Sequence[Comparison],
) -> str:
    """Say in one sentence how much tau matters, which tau the objective chooses, and whether that helped."""
    if chosen is None:
        return "No trial finished with an objective, so this sweep says nothing about tau."
    parts = []
    if sensitivity is not None:
        parts.append(
            f"Staging is {sensitivity.word} sensitive to tau (target macro-F1 "
            f"{number(sensitivity.lowest)}{DASH}{number(sensitivity.highest)} over "
            f"{sensitivity.n_points} enqueued taus)"
        )
    parts.append(
        f"{'the' if parts else 'The'} objective chooses tau_quantile "
        f"{number(chosen.tau_quantile, 2)}, R > {significant(chosen.tau_absolute)}, which keeps "
        f"{chosen.n_kept} of {chosen.n_selectable} source batches ({percent(chosen.kept_fraction)})"
    )
    judged = [c for c in comparisons if c.verdict is not None]
    if judged:
        parts.append(f"finetuning on them {_judgement(judged)}")
    return "; ".join(parts) + "."


def _judgement(judged: Sequence[Comparison]) -> str:
    """For example: hurt compared with A (-0.04) and helped compared with B (+0.02) and C (+0.01)."""
    verbs = {
        Verdict.HURT: "hurt",
        Verdict.NO_DIFFERENCE: "made no difference",
        Verdict.HELPED: "helped",
    }
    said = []
    for verdict, verb in verbs.items():
        arms = [
            f"{ARM_TITLES[comparison.arm]} ({signed(comparison.difference)})"
            for comparison in judged
            if comparison.verdict is verdict
        ]
        if arms:
            said.append(f"{verb} compared with {listed(arms)}")
    return listed(said)


def interval_note(manifest: Manifest, n_seeds: int) -> str:
    """Say why the differences carry no interval."""
    n_subjects = len(manifest.target_subjects)
    if n_seeds > 1:
        subjects = (
            "One target subject" if n_subjects == 1 else f"{n_subjects} target subjects, pooled"
        )
        return (
            f"{subjects}; means over {n_seeds} seeds from {manifest.seed} on, of trials and of arms. A difference has "
            "no interval over subjects; that of the objective over seeds is in the table of trials."
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
    manifest: Manifest, other_steps: tuple[int, int] | None
) -> tuple[tuple[str, str], ...]:
    """Term and explanation, for the foot of the page.

    Parameters
    ----------
    other_steps : (int, int) or None
        See :func:`orchestrator.review.selective.statistics.other_steps`.
    """
    as_many = "as many steps as every trial"
    if other_steps is not None:
        as_many = f"{manifest.n_steps} steps, as the enqueued trials were"
    return (
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
        (
            "Chosen trial",
            f"The one with the highest objective ({manifest.objective}); the target metric plays "
            f"no part in choosing it.{_OBJECTIVES.get(manifest.objective, '')}",
        ),
        (
            "Arms",
            "no_adapt is the pretrained encoder untouched; all_source and random are finetuned "
            f"for {as_many}, at the default learning rate, on all batches and "
            "on as many as tau_quantile 0.5 keeps, drawn by seed.",
        ),
        (
            "Helped, hurt, no difference",
            f"Chosen trial minus arm in target macro-F1; below {number(NO_DIFFERENCE, 2)} it is "
            "called no difference. Sensitivity is called hardly, moderately (from "
            f"{number(NO_DIFFERENCE, 2)}) or strongly (from {number(STRONG_SENSITIVITY, 2)}) by the "
            "range over the enqueued taus. An arm that took other steps than the chosen "
            "trial gets none. These words are conventions, not tests.",
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
