"""Test metrics recording by recording: the clinical unit is the night. Pure."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.methods.sleepmg.results import RecordingRow
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.reviews import known


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Mean and standard deviation (n - 1) over recordings; None where unknown."""

    mean: float | None
    sd: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ByRecording:
    """One entry over its recordings, each averaged over seeds first."""

    entry: Entry
    n_recordings: int
    macro_f1: Spread
    accuracy: Spread
    kappa: Spread
    worst: str | None
    """Recording with the lowest macro-F1, the first by name among equals."""
    worst_macro_f1: float | None


def by_recording(entry: Entry, recordings: Sequence[RecordingRow]) -> ByRecording:
    """Summarise the recordings of an entry's runs."""
    mine: defaultdict[tuple[str, str], list[RecordingRow]] = defaultdict(list)
    for recording in recordings:
        if recording.trial in entry.trials:
            mine[recording.subject, recording.recording].append(recording)
    macro_f1 = {key: known.mean(r.macro_f1 for r in runs) for key, runs in sorted(mine.items())}
    candidates = [(value, name) for (_, name), value in macro_f1.items() if value is not None]
    worst = min(candidates, default=None)
    return ByRecording(
        entry=entry,
        n_recordings=len(mine),
        macro_f1=_spread(macro_f1.values()),
        accuracy=_spread([known.mean(r.accuracy for r in runs) for runs in mine.values()]),
        kappa=_spread([known.mean(r.kappa for r in runs) for runs in mine.values()]),
        worst=worst[1] if worst else None,
        worst_macro_f1=worst[0] if worst else None,
    )


def _spread(values: Collection[float | None]) -> Spread:
    return Spread(mean=known.mean(values), sd=known.sd(values))
