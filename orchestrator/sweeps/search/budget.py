"""When a search has had enough: computed from the record alone, so that a resumed one counts what came before. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.sweeps.search.study import began_at, ended_at, name_of, reused_from

_EVER = datetime.min.replace(tzinfo=UTC)


def spent(trials: Sequence[FrozenTrial], now: datetime) -> timedelta:
    """Return how long at least one trial was running, all attempts together.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        With those that run.
    now : datetime
        With its zone.
    """
    total, until = timedelta(), _EVER
    for began, ended in sorted(_spans(trials, now)):
        if ended > until:
            total += ended - max(began, until)
            until = ended
    return total


def gpu_time(trials: Sequence[FrozenTrial], n_gpus: float, now: datetime) -> timedelta:
    """Return the time of all trials together, times the GPUs of each; one that waits for another has none."""
    training = [trial for trial in trials if reused_from(trial) is None]
    return sum((ended - began for began, ended in _spans(training, now)), timedelta()) * n_gpus


def n_without_gain(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials ended since the best objective was first reached.

    One that was interrupted is followed by another one of its name, and says nothing.
    """
    latest = {name_of(t): t.number for t in sorted(trials, key=lambda t: t.number) if name_of(t)}
    finished = [
        t
        for t in trials
        if t.state.is_finished()
        and ended_at(t) is not None
        and latest.get(name_of(t), t.number) == t.number
    ]
    finished.sort(key=lambda t: (ended_at(t) or _EVER, t.number))
    best, since = float("-inf"), 0
    for trial in finished:
        value = trial.value if trial.state is TrialState.COMPLETE else None
        if value is not None and value > best:
            best, since = value, 0
        else:
            since += 1
    return since


def exhausted(
    search: SearchBase,
    n_gpus: float,
    trials: Sequence[FrozenTrial],
    now: datetime,
    usd: float = 0.0,
) -> str | None:
    """Return which limit of a search was reached, if one was.

    Parameters
    ----------
    search : SearchBase
    n_gpus : float
        Of each trial.
    trials : sequence of FrozenTrial
        All that were proposed, those that run and those that reuse another one's training too.
    now : datetime
    usd : float
        What the machines have cost so far.
    """
    hour = timedelta(hours=1)
    if search.max_hours is not None and spent(trials, now) >= search.max_hours * hour:
        return f"max_hours {search.max_hours:g}"
    if (
        search.max_gpu_hours is not None
        and gpu_time(trials, n_gpus, now) >= search.max_gpu_hours * hour
    ):
        return f"max_gpu_hours {search.max_gpu_hours:g}"
    if search.max_usd is not None and usd >= search.max_usd:
        return f"max_usd {search.max_usd:g}"
    if search.plateau is not None and n_without_gain(trials) >= search.plateau:
        return f"plateau {search.plateau}"
    return None


def _spans(trials: Sequence[FrozenTrial], now: datetime) -> list[tuple[datetime, datetime]]:
    return [(began, ended_at(t) or now) for t in trials if (began := began_at(t)) is not None]
