"""What limits the answer of a review of pretrainings. Pure."""

from orchestrator.methods.pretrain.review.findings import Findings
from orchestrator.reviews.cautions import (
    Caution,
    Level,
    encoders_of_other_code,
    failures_named,
    loudest_first,
)
from orchestrator.reviews.formats import counted, number, some

FEW_SUBJECTS = 20
"""Below this many held-out subjects the page says so (a convention)."""


def cautions(found: Findings) -> tuple[Caution, ...]:
    """Everything that limits the answer, the loudest first."""
    return loudest_first(
        [
            *_chance_level(found),
            *_within_spread(found),
            *_few_subjects(found),
            *_still_learning(found),
            *_failed(found),
            *encoders_of_other_code(found.sweep.other_code),
            *_optimistic(found),
            *_no_target(found),
        ]
    )


def _chance_level(found: Findings) -> list[Caution]:
    majority, chosen = found.sweep.manifest.majority, found.chosen
    if chosen is None or (chosen.objective or 0.0) > majority.macro_f1:
        return []
    return [
        Caution(
            level=Level.ALARM,
            title="No encoder learned to stage sleep.",
            text=f"The best objective, {number(chosen.objective)}, is not above always answering {majority.stage} "
            f"({number(majority.macro_f1)}). The order of the trials means nothing.",
        )
    ]


def _within_spread(found: Findings) -> list[Caution]:
    if found.chosen is None or not found.within_spread:
        return []
    names = [trial.trial for trial in found.within_spread]
    return [
        Caution(
            level=Level.WARNING,
            title=f"{counted(len(names), 'other trial')} within the spread between subjects.",
            text=f"One standard deviation of macro-F1 between the held-out subjects is {number(found.subject_sd)} in "
            f"{found.chosen.trial}; no further below its objective: {some(names, 12)}. Other held-out subjects might "
            "well choose one of these.",
        )
    ]


def _few_subjects(found: Findings) -> list[Caution]:
    n = len(found.subjects)
    if found.chosen is None or n >= FEW_SUBJECTS:
        return []
    if n == 1:
        return [
            Caution(
                level=Level.WARNING,
                title=f"One held-out subject chooses: {found.subjects[0].subject}.",
                text="How far the numbers move from subject to subject is not known, so no two trials can be told "
                "apart with any confidence. Name more subjects in source.validation.",
            )
        ]
    return [
        Caution(
            level=Level.NOTE,
            title=f"Few held-out subjects: {n}.",
            text=f"With {counted(n, 'subject')}, one unusual night moves every objective.",
        )
    ]


def _still_learning(found: Findings) -> list[Caution]:
    limit, chosen = found.sweep.manifest.pretrain["n_passes"], found.chosen
    if chosen is None or chosen.best_pass != limit:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title=f"{chosen.trial} was still getting better when it ended.",
            text=f"Its best pass is the last one that pretrain.n_passes allows, {limit:g}. With more passes another "
            "trial may be ahead: few passes favour settings that learn fast.",
        )
    ]


def _failed(found: Findings) -> list[Caution]:
    failed = [trial for trial in found.sweep.trials if not trial.is_complete]
    if not failed:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"{len(failed)} of {counted(len(found.sweep.trials), 'trial')} failed.",
            text="They are missing from the figure. "
            f"{failures_named([(trial.trial, trial.error) for trial in failed])}.",
        )
    ]


def _optimistic(found: Findings) -> list[Caution]:
    if found.chosen is None:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title="The best objective is optimistic.",
            text=f"It is the highest of {counted(len(found.sweep.trials), 'trial')}, each trained with one seed, on "
            "the subjects that chose it. For a number to publish, judge this encoder on subjects that took no part.",
        )
    ]


def _no_target(found: Findings) -> list[Caution]:
    return [
        Caution(
            level=Level.NOTE,
            title="Nothing here is about a target.",
            text="The encoder that stages the source best need not be the one that adapts best to other recordings; "
            "a selective sweep with it tells.",
        )
    ]
