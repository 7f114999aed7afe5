"""What limits the answer of a sleepmg review. Pure."""

from orchestrator.methods.sleepmg.review.balance import never_left_chance
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.reviews import known
from orchestrator.reviews.cautions import Caution, Level, failures_named, loudest_first
from orchestrator.reviews.formats import counted, listed, number, signed, some
from orchestrator.reviews.paired import FEW_PAIRS
from orchestrator.reviews.verdicts import Verdict

FEW_SUBJECTS = 20
"""Below this many test subjects the page says so (a convention)."""

FEW_EPOCHS = 50
"""Below this many epochs of a stage its F1 hangs on single epochs (a convention)."""

DOMAIN_MARGIN = 0.02
"""Discriminator accuracy this close to chance is called chance (a convention)."""


def cautions(found: Findings) -> tuple[Caution, ...]:
    """Everything that limits the answer, the loudest first."""
    return loudest_first(
        [
            *_chance_level(found),
            *_hurt(found),
            *_not_nested(found),
            *_noise(found),
            *_refit(found),
            *_seeds(found),
            *_few_subjects(found),
            *_few_epochs(found),
            *_starved(found),
            *_discriminator(found),
            *_failed(found),
            *_no_controls(found),
        ]
    )


def _chance_level(found: Findings) -> list[Caution]:
    majority = found.sweep.manifest.majority
    at_chance = [
        entry
        for entry in found.shown
        if (value := entry.mean("test_macro_f1")) is not None and value <= majority.macro_f1
    ]
    if not at_chance:
        return []
    values = [f"{entry.name} ({number(entry.mean('test_macro_f1'))})" for entry in at_chance]
    loud = found.chosen in at_chance or len(at_chance) == len(found.shown)
    return [
        Caution(
            level=Level.ALARM if loud else Level.WARNING,
            title=f"Did not learn to stage sleep: {some([e.name for e in at_chance], 8)}.",
            text=f"Test macro-F1 not above always answering {majority.stage} ({number(majority.macro_f1)}): "
            f"{some(values, 8)}. Differences to or between such results mean nothing.",
        )
    ]


def _hurt(found: Findings) -> list[Caution]:
    if found.chosen is None:  # in an ablation, that a part hurts is a result like any other
        return []
    return [
        Caution(
            level=Level.ALARM,
            title=f"The chosen trial hurt: {signed(c.difference)} macro-F1 against {c.control.name}.",
            text="On these test subjects that row would have been the better choice.",
        )
        for c in found.comparisons
        if c.verdict is Verdict.HURT
    ]


def _not_nested(found: Findings) -> list[Caution]:
    if not found.is_search:
        if len(found.ranked) < 2:
            return []
        return [
            Caution(
                level=Level.NOTE,
                title="Picking a row from this page is a choice on test labels.",
                text="No label of a test subject entered the training of its fold. But whoever takes the row that "
                "ranks first because it ranks first has chosen on these very subjects, and its number is then "
                "optimistic.",
            )
        ]
    return [
        Caution(
            level=Level.WARNING,
            title="This is not nested cross-validation: the chosen trial's test numbers are optimistic.",
            text="Inside a fold the test subjects are neither trained on nor used to stop. But each subject may be a "
            "validation subject of another fold, so the choice among "
            f"{counted(found.n_trials, 'trial')} may have seen the labels of all of them, and the rows were not "
            "chosen at all. For a number to publish, run the chosen values on subjects that took no part in this "
            "sweep.",
        )
    ]


def _noise(found: Findings) -> list[Caution]:
    unclear = [c for c in found.comparisons if c.verdict is Verdict.UNCLEAR]
    cautions = []
    if unclear:
        against = [c.control.name if found.chosen else c.entry.name for c in unclear]
        base = f" and {found.reference.name}" if found.reference else ""
        cautions.append(
            Caution(
                level=Level.WARNING,
                title="Differences that this sweep cannot tell from chance.",
                text=f"Between {found.chosen.name + ' and ' if found.chosen else ''}{some(against, 8)}{base}: the "
                "subjects do not agree on the sign (interval, test), there are too few of them, or the seeds alone "
                "move the numbers as far.",
            )
        )
    if len(found.ranked) > 1 and found.reference is not None:
        first, second = found.ranked[:2]
        lead = (first.mean("test_macro_f1") or 0) - (second.mean("test_macro_f1") or 0)
        noise = known.mean([first.sd("test_macro_f1"), second.sd("test_macro_f1")])
        if noise is not None and lead <= noise:
            cautions.append(
                Caution(
                    level=Level.WARNING,
                    title=f"The first rank is within the noise of the seeds: {first.name} before {second.name}.",
                    text=f"They are {number(lead)} apart; over seeds they move by "
                    f"{number(first.sd('test_macro_f1'))} and {number(second.sd('test_macro_f1'))} (SD).",
                )
            )
    return cautions


def _refit(found: Findings) -> list[Caution]:
    if found.chosen is None or found.chosen.name not in found.sweep.refitted:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title=f"The model of {found.chosen.name} is not what was measured here.",
            text="The numbers on this page were measured on the networks of the folds; this one was trained on all "
            "subjects, and nobody is left to judge it.",
        )
    ]


def _seeds(found: Findings) -> list[Caution]:
    if found.is_search:
        if found.chosen is None or found.chosen.runs[0].n_replicates > 1:
            return []
        return [
            Caution(
                level=Level.NOTE,
                title="The chosen trial was run with one seed.",
                text="How far its own numbers move with the seed is not known; the best of several trials is partly "
                "the luckiest. To know, search with `replicates`, or run its values as a row with several seeds.",
            )
        ]
    if len(found.sweep.manifest.seeds) > 1:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="One seed: there is no spread over seeds.",
            text="Training the same row again with another seed would give another number; how different is not "
            "known here.",
        )
    ]


def _few_subjects(found: Findings) -> list[Caution]:
    n = len({r.subject for r in found.sweep.recordings})
    if not found.shown or n >= FEW_SUBJECTS:
        return []
    test = (
        "no interval and no test can be given"
        if n < FEW_PAIRS
        else "intervals over subjects are coarse, and one unusual night moves every number"
    )
    return [
        Caution(
            level=Level.WARNING if n < FEW_PAIRS else Level.NOTE,
            title=f"Few subjects: {n}.",
            text=f"With {counted(n, 'test subject')}, {test}.",
        )
    ]


def _few_epochs(found: Findings) -> list[Caution]:
    manifest = found.sweep.manifest
    few = [
        f"{stage} ({manifest.stage_counts.get(stage, 0)})"
        for stage in manifest.declared_stages
        if manifest.stage_counts.get(stage, 0) < FEW_EPOCHS
    ]
    if not few:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Stages with few epochs: {listed(few)}.",
            text=f"With fewer than {FEW_EPOCHS} epochs in all subjects, the F1 of a stage hangs on a handful of "
            f"epochs, and macro-F1 gives it the weight of one stage in {len(manifest.declared_stages)} all the same.",
        )
    ]


def _starved(found: Findings) -> list[Caution]:
    starved = [summary for summary in found.modalities if summary.n_starved]
    if not starved:
        return []
    of_entry = {
        entry.name: [
            f"{s.modality.upper()} in {s.n_starved} of {counted(s.n_folds, 'training')}"
            for s in starved
            if s.entry == entry.name
        ]
        for entry in found.shown
    }
    named = [f"{name}: {listed(modalities)}" for name, modalities in of_entry.items() if modalities]
    modalities = list(dict.fromkeys(s.modality.upper() for s in starved))
    return [
        Caution(
            level=Level.WARNING,
            title=f"Starved: {listed(modalities)}.",
            text="In at least one pass the balance took more than half of nearly every update from them. "
            f"{'; '.join(named[:8])}{'; and more' if len(named) > 8 else ''}. A modality that is held back like "
            "this stops learning; a smaller alpha, or the continuous rule, holds it back less.",
        )
    ]


def _discriminator(found: Findings) -> list[Caution]:
    cautions = []
    stuck = [
        entry
        for entry in found.shown
        if _at_chance(entry) and never_left_chance(entry, DOMAIN_MARGIN)
    ]
    if stuck:
        cautions.append(
            Caution(
                level=Level.WARNING,
                title=f"The discriminator never left chance: {some([e.name for e in stuck], 8)}.",
                text="From the first pass on it told the training subjects apart no better than by guessing, so its "
                "reversed gradient was noise. Lambda may be too large, or the training too short: a row with lambda 0 "
                "tells which.",
            )
        )
    unlearnt = [e for e in found.shown if _at_chance(e) and e not in stuck]
    if unlearnt:
        values = [
            f"{e.name} ({number(e.mean('domain_accuracy'))} of {number(e.mean('domain_chance'))})"
            for e in unlearnt
        ]
        cautions.append(
            Caution(
                level=Level.NOTE,
                title=f"The discriminator ended at chance: {some([e.name for e in unlearnt], 8)}.",
                text=f"Accuracy and chance: {some(values, 8)}. That is what gradient reversal is for, as long as "
                "macro-F1 holds; where macro-F1 is low too, the features may have lost more than the subject.",
            )
        )
    return cautions


def _at_chance(entry: Entry) -> bool:
    accuracy, chance = entry.mean("domain_accuracy"), entry.mean("domain_chance")
    return accuracy is not None and chance is not None and accuracy <= chance + DOMAIN_MARGIN


def _failed(found: Findings) -> list[Caution]:
    trials = found.sweep.trials
    failed = [trial for trial in trials if trial.is_failed]
    if not failed:
        return []
    named = failures_named([(trial.trial, trial.error) for trial in failed])
    return [
        Caution(
            level=Level.WARNING,
            title=f"{len(failed)} of {len(trials)} trials and runs of rows failed.",
            text=f"They are missing from figures and comparisons; a row with other seeds is shown by those. {named}.",
        )
    ]


def _no_controls(found: Findings) -> list[Caution]:
    if found.rows or found.chosen is None:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="No row was run: there is no control.",
            text="Without one such as NaiveMG, the same network without balance, nothing here can be attributed to "
            "the balance.",
        )
    ]
