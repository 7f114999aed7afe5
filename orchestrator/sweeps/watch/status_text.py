"""Where a sweep stands, in words."""

from collections.abc import Mapping
from typing import Any

from orchestrator.sweeps.watch.status import RunningTrial, SweepStatus
from orchestrator.tables.shown import selection_of


def status_text(status: SweepStatus) -> str:
    """Return a status for people."""
    lines = [headline(status)]
    if status.n_fixed:
        lines.append(f"fixed configurations: {status.n_fixed} done")
    if status.n_trials is not None:
        lines.append(f"trials: {counts_text(status)}")
    if status.n_lost:
        lines.append(lost_text(status))
    if status.running:
        lines.append(f"running: {'; '.join(running_text(trial) for trial in status.running)}")
    if status.best_trial is not None:
        params = f", {params_text(status.best_params)}" if status.best_params else ""
        kept = f", {kept_text(status.best_kept)}" if status.best_kept else ""
        lines.append(
            f"best: {status.best_trial}, objective {status.best_objective:.3f}{params}{kept}"
        )
    lines.append(f"elapsed: {duration_text(60 * status.minutes_run)}")
    if status.minutes_left is not None:
        lines.append(f"left: about {status.minutes_left:.0f} min at this pace")
    if status.data_wait is not None:
        lines.append(data_wait_text(status.data_wait))
    if status.stopped_because:
        lines.append(f"because: {status.stopped_because}")
    lines.append(f"last event: {status.last_event}, {status.last_event_at}")
    return "\n".join(lines)


def headline(status: SweepStatus) -> str:
    """Return which sweep it is, and in which state."""
    return f"sweep {status.name}: {status.state}{f', {status.holder}' if status.holder else ''}"


def counts_text(status: SweepStatus) -> str:
    """Return how many trials came to what end."""
    reused = f" ({status.n_reused} reused)" if status.n_reused else ""
    stopped = f"{status.n_stopped} ended early, " if status.n_stopped else ""
    n_done = status.n_complete + status.n_stopped + status.n_failed
    return (
        f"{n_done} of {status.n_trials} done, {status.n_complete} complete{reused}, {stopped}"
        f"{status.n_failed} failed"
    )


def lost_text(status: SweepStatus) -> str:
    """Return how many processes were lost under trials."""
    return f"lost processes: {status.n_lost}; their trials went on"


def data_wait_text(share: float) -> str:
    """Return how much of the time of training waits for data."""
    return f"data wait: {100 * share:.1f} % of training"


def running_text(running: RunningTrial) -> str:
    """Return how far a trial is."""
    part = f" {part_text(running)}" if running.n_parts else ""
    return f"{running.trial}{part}, {duration_text(running.running_s)}"


def part_text(running: RunningTrial) -> str:
    """Return which part of a trial is under way."""
    return f"{running.unit} {running.n_parts_done + 1} of {running.n_parts}"


def kept_text(kept: Mapping[str, Any]) -> str:
    """Return what a trial selects, in the words of its method."""
    return selection_of(kept).text(kept)


def params_text(params: Mapping[str, Any]) -> str:
    """Return sampled parameters in the order of the event log, by name, each to four digits."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(params.items())
    )


def duration_text(seconds: float) -> str:
    """Return a time in the largest units that say something."""
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
