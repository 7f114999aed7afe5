"""Run the record of a finished sweep again, in one process, and say whether it gives the same.

A sweep leaves what was proposed, what each proposal predicted, and what that was worth. A replay takes the proposals
from a copy of the journal, trains each of them into a folder that is thrown away, and compares. It writes nothing
where the sweep or any other one looks; the labels that it needs are read through a gate with a ledger of its own, and
test labels not at all: equal predictions have equal test metrics.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.errors import ReplayError
from orchestrator.method import method_of
from orchestrator.store.store import Store
from orchestrator.sweeps.comparison import Recorded, Replayed
from orchestrator.sweeps.finished import (
    WHERE_IT_IS_THE_SAME,
    FinishedSweep,
    check_known,
    finished_sweep,
    opened,
)
from orchestrator.sweeps.search.proposals import first_other, why_not_comparable
from orchestrator.telemetry.progress import progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What came of a replay."""

    sweep: str
    notes: tuple[str, ...]
    """What is not as it was when the sweep ran, such as a version."""
    trials: tuple[Replayed, ...]
    """Arms or rows, then trials in the order of proposal."""
    proposals_from: str | None
    """The first trial that the same seed proposes otherwise; None where all are the same, or not compared."""
    proposals_not_compared: str | None
    """Why not; None where they were."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.proposals_from is None and not any(trial.differs for trial in self.trials)

    def check(self) -> None:
        """Raise unless everything is the same.

        Raises
        ------
        ReplayError
            With the trials that differ, and how.
        """
        if self.same:
            return
        found = [f"{t.trial} ({', '.join(t.differs)})" for t in self.trials if t.differs]
        parts = []
        if found:
            of = f"{len(found)} of {len(self.trials)} configurations"
            parts.append(f"{of} gave something else than recorded: {'; '.join(found)}")
        if self.proposals_from is not None:
            parts.append(f"the same seed proposes other parameters from {self.proposals_from} on")
        about = f" ({'; '.join(self.notes)})" if self.notes else ""
        raise ReplayError(
            f"sweep {self.sweep!r} is not replicated{about}: {'; '.join(parts)}. Replay it {WHERE_IT_IS_THE_SAME}."
        )


def replay(
    store: Store, name: str, only: Sequence[str] = (), *, n_cpus: int | None = None
) -> Replay:
    """Train what a finished sweep tried again, and compare.

    Parameters
    ----------
    store : Store
    name : str
        Of the sweep.
    only : sequence of str
        Names of trials, arms or rows; all by default. Proposals are compared in any case.
    n_cpus : int, optional
        CPUs of the Ray session that several workers run in; one worker needs none.

    Raises
    ------
    ConfigError
        There is no such sweep or trial, the sweep has not finished, or its data changed.
    DataError
        The store lacks the encoder or the score table of the sweep.
    IntegrityError
        A file of the sweep is damaged.
    InterruptedSweepError
        Ctrl-C: a replay keeps nothing, and begins again.
    """
    method = method_of(store, finished_sweep(store, name, "cannot be replayed"))
    with opened(store, method) as finished:
        chosen = _chosen(finished.recorded, only)
        interrupted = f"the replay of sweep {name!r} was interrupted. It keeps nothing; the same command begins again."
        names = [each.trial for each in chosen]
        with finished.begun("replay_started", names, interrupted=interrupted, n_cpus=n_cpus) as (
            comparison,
            log,
        ):
            trials = []
            with progress("replay", len(chosen)) as advance:
                for each in chosen:
                    trials.append(comparison.replayed(each))
                    advance(f"{each.trial}: {trials[-1].said}")
            other, not_compared = _proposals(finished)
            found = Replay(
                sweep=name,
                notes=finished.notes,
                trials=tuple(trials),
                proposals_from=other,
                proposals_not_compared=not_compared,
            )
            log.emit("replay_finished", same=found.same)
    return found


def replay_text(report: Replay) -> str:
    """Return a replay for people: a line for each trial, and one for the proposals."""
    wide = max((len(trial.trial) for trial in report.trials), default=0)
    lines = [f"{trial.trial:<{wide}}  {trial.said}" for trial in report.trials]
    if report.proposals_not_compared is not None:
        proposals = f"not compared: {report.proposals_not_compared}"
    elif report.proposals_from is not None:
        proposals = f"other ones from {report.proposals_from} on"
    else:
        proposals = "same"
    n_same = sum(
        not trial.differs and trial.how not in ("died", "stopped") for trial in report.trials
    )
    return "\n".join(
        [
            *lines,
            f"proposals: {proposals}",
            f"sweep {report.sweep}: {n_same} of {len(report.trials)} configurations gave the same again",
        ]
    )


def replay_data(report: Replay) -> dict[str, Any]:
    """Return a replay for programs."""
    return {**asdict(report), "same": report.same}


def _chosen(recorded: Sequence[Recorded], only: Sequence[str]) -> list[Recorded]:
    for name in only:
        check_known(name, [each.trial for each in recorded])
    return [each for each in recorded if not only or each.trial in only]


def _proposals(finished: FinishedSweep) -> tuple[str | None, str | None]:
    """Return the first trial that the same seed proposes otherwise, and why that was not looked for."""
    method, study = finished.method, finished.study
    search = method.search
    not_compared = why_not_comparable(search, study.n_attempts if study else 0)
    if study is None or search is None or not_compared is not None:
        return None, not_compared
    other = first_other(
        study.trials,
        method.space,
        method.first,
        search,
        seed=method.sweep.seed,
        identify=lambda params: str(method.configured("", params).signature),
        journal=finished.folder / "fresh.journal",
    )
    return other, None
