"""Who is better than whom on the test subjects, and whether that can be told from chance. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.methods.sleepmg.results import RecordingRow
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.reviews.paired import Paired, paired
from orchestrator.reviews.verdicts import Verdict, verdict_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One entry against another, in test macro-F1."""

    entry: Entry
    control: Entry
    difference: float | None
    """Means over seeds of the pooled metric, entry minus control; None where one has none."""
    seed_sd: float | None
    """How far that difference moves with the seed; None where no side has two seeds."""
    over_subjects: Paired | None
    """The same difference subject by subject; None where no subject has both."""
    verdict: Verdict | None


def compare(entry: Entry, control: Entry, recordings: Sequence[RecordingRow]) -> Comparison:
    """Compare two entries on the subjects that both were tested on.

    Parameters
    ----------
    recordings : sequence of Recording
        Of all trials.
    """
    mine, other = entry.mean("test_macro_f1"), control.mean("test_macro_f1")
    difference = None if mine is None or other is None else mine - other
    scores, controls = subject_scores(entry, recordings), subject_scores(control, recordings)
    over_subjects = paired([scores[s] - controls[s] for s in sorted(scores.keys() & controls)])
    seed_sd = _seed_sd(entry, control)
    return Comparison(
        entry=entry,
        control=control,
        difference=difference,
        seed_sd=seed_sd,
        over_subjects=over_subjects,
        verdict=None if difference is None else judge(difference, seed_sd, over_subjects),
    )


def judge(difference: float, seed_sd: float | None, over_subjects: Paired | None) -> Verdict:
    """Word for a difference: helped or hurt only where neither subjects nor seeds explain it.

    A difference that is large enough to count is unclear when it is no larger than its standard deviation over seeds,
    or when subjects do not agree on it: their interval holds zero, their test does not reach 0.05, or both cannot be
    given.

    Examples
    --------
    >>> judge(0.05, None, None), judge(0.002, None, None)
    (<Verdict.UNCLEAR: 'unclear'>, <Verdict.NO_DIFFERENCE: 'no difference'>)
    """
    word = verdict_of(difference)
    if word is Verdict.NO_DIFFERENCE:
        return word
    beyond_seeds = seed_sd is None or abs(difference) > seed_sd
    beyond_subjects = over_subjects is not None and over_subjects.agrees(difference)
    return word if beyond_seeds and beyond_subjects else Verdict.UNCLEAR


def subject_scores(entry: Entry, recordings: Sequence[RecordingRow]) -> Mapping[str, float]:
    """Test macro-F1 of each subject: the mean over the subject's recordings and the entry's seeds."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for recording in recordings:
        if recording.trial in entry.trials and recording.macro_f1 is not None:
            found[recording.subject].append(recording.macro_f1)
    return {subject: statistics.fmean(values) for subject, values in found.items()}


def ranking(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Entries by mean test macro-F1, highest first; those without one are left out."""
    known = [(entry.mean("test_macro_f1"), entry) for entry in entries]
    ranked = [(value, entry) for value, entry in known if value is not None]
    return tuple(entry for _, entry in sorted(ranked, key=lambda pair: (-pair[0], pair[1].name)))


def _seed_sd(entry: Entry, control: Entry) -> float | None:
    """SD of the difference over seeds that both have, else the larger SD of one side alone."""
    mine, other = (
        {
            run.seed: run.test_macro_f1
            for run in e.runs
            if run.test_macro_f1 is not None and run.n_replicates == 1
        }
        for e in (entry, control)
    )
    both = sorted(mine.keys() & other.keys())
    if len(both) > 1:
        return statistics.stdev(mine[seed] - other[seed] for seed in both)
    alone = [sd for e in (entry, control) if (sd := e.sd("test_macro_f1")) is not None]
    alone += [
        sd for e in (entry, control) for r in e.runs if (sd := r.test_macro_f1_sd) is not None
    ]
    return max(alone, default=None)
