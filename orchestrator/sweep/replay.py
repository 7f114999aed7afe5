"""Run the record of a finished sweep again, in one process, and say whether it gives the same.

A sweep leaves what was proposed, what each proposal predicted, and what that was worth. A replay takes the proposals
from a copy of the journal, trains each of them into a folder that is thrown away, and compares. It writes nothing
where the sweep or any other one looks; the labels that it needs are read through a gate with a ledger of its own, and
test labels not at all: equal predictions have equal test metrics.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray

from orchestrator.config.suggest import did_you_mean
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError, InterruptedSweepError, ReplayError
from orchestrator.labels import LabelGate
from orchestrator.method import method_of
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.lines import whole_lines
from orchestrator.store.provenance import recorded_code, this_code
from orchestrator.store.store import Store
from orchestrator.sweep.begun import stored_sweep
from orchestrator.sweep.comparison import Comparison, Recorded, Replayed
from orchestrator.sweep.search import study as record
from orchestrator.sweep.search.journal import check_journal
from orchestrator.sweep.search.proposals import first_other, why_not_comparable
from orchestrator.sweep.search.study import Study
from orchestrator.sweep.watch.status import sweep_status
from orchestrator.sweep.workers import Room, check_fits
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note, progress
from orchestrator.telemetry.session import ray_session

_COUNTS = ("sleep-orchestrator", "torch", "numpy", "optuna")
"""Packages whose version the numbers may depend on."""


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
            f"sweep {self.sweep!r} is not replicated{about}: {'; '.join(parts)}. Replay it on the same kind of CPU "
            "and with the versions that its manifest.json names. Where that differs, too, a file of the sweep was "
            "changed since, or sums were rounded otherwise."
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
    sweep = _finished_sweep(store, name)
    method = method_of(store, sweep)
    manifest = read_json(
        store, paths.sweep_manifest(name), {"versions": dict, method.data_id[0]: str}
    )
    _check_same_data(name, manifest, *method.data_id)
    with tempfile.TemporaryDirectory(prefix="orchestrator-replay-") as folder:
        # A copy, because Optuna appends to a journal that it opens.
        study = _study(store, name, Path(folder) / "recorded.journal")
        chosen = _chosen(_recorded(store, name, study), only)
        notes = (*_other_versions(manifest["versions"]), *_other_code(store, name))
        for text in notes:
            note(text)
        scratch = Store.open(folder)
        with (
            EventLog(store, paths.replay_events(name)) as log,
            _ray_of(sweep, scratch, n_cpus),
            _interruptible(name),
        ):
            log.emit("replay_started", trials=[each.trial for each in chosen])
            inputs = method.begin(LabelGate(store, log), scratch)
            inputs_ref = [ray.put(inputs)] if sweep.workers > 1 else None
            comparison = Comparison(method, inputs, inputs_ref, store, scratch)
            trials = []
            with progress("replay", len(chosen)) as advance:
                for each in chosen:
                    trials.append(comparison.replayed(each))
                    advance(f"{each.trial}: {trials[-1].said}")
            search = sweep.search
            not_compared = why_not_comparable(search, study.n_attempts if study else 0)
            other = None
            if study is not None and search is not None and not_compared is None:
                other = first_other(
                    study.trials,
                    method.space,
                    method.first,
                    search,
                    seed=sweep.seed,
                    identify=lambda params: str(method.configured("", params).signature),
                    journal=Path(folder) / "fresh.journal",
                )
            found = Replay(
                sweep=name,
                notes=notes,
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


def _finished_sweep(store: Store, name: str) -> SweepBase:
    """Return the sweep file that the store keeps."""
    if not store.exists(paths.sweep_trials(name)):
        state = sweep_status(store, name).state
        raise ConfigError(
            f"sweep {name!r} cannot be replayed: it is {state}. Finish it with `orchestrator sweep` first."
        )
    sweep = stored_sweep(store, name)
    assert sweep is not None, "it is written before the first trial"
    return sweep


def _check_same_data(name: str, manifest: Mapping[str, Any], key: str, now: str) -> None:
    if manifest[key] != now:
        raise ConfigError(
            f"the epochs of sweep {name!r} changed since it ran ({key} {manifest[key]}, now {now}), so nothing can be "
            "the same. Ingest the recordings that it ran on, as they were, into a store, and run the sweep there."
        )


def _other_versions(recorded: Mapping[str, str]) -> list[str]:
    found = []
    for package in _COUNTS:
        try:
            now = version(package)
        except PackageNotFoundError:
            now = "none"
        if recorded.get(package, now) != now:
            found.append(f"the sweep ran with {package} {recorded[package]}, this is {now}")
    return found


def _other_code(store: Store, name: str) -> list[str]:
    recorded, now = recorded_code(store, paths.sweep_manifest(name)), this_code()
    if recorded is None or recorded.trainables_sha256 == now.trainables_sha256:
        return []
    return [f"the sweep ran with {recorded.text}, this is {now.text}"]


def _study(store: Store, name: str, copy: Path) -> Study | None:
    """Return the sweep's study from a copy of its journal; None where it had no search."""
    journal = store.read_if_there(paths.sweep_journal(name))
    if journal is None:
        return None
    copy.write_bytes(whole_lines(journal))
    check_journal(copy, store.uri_of(paths.sweep_journal(name)), name)
    return Study(name, copy)


def _recorded(store: Store, name: str, study: Study | None) -> list[Recorded]:
    """Return arms or rows as the final table has them, then trials as the journal has them."""
    rows = {row["trial"]: row for row in store.read_table(paths.sweep_trials(name)).to_pylist()}
    fixed = [
        Recorded(
            trial=trial,
            params=None,
            signature=row["signature"],
            objective=row["objective"],
            error=row["error"],
            reused_from=None,
        )
        for trial, row in rows.items()
        if row["kind"] != "trial"
    ]
    trials = []
    for frozen in study.trials if study is not None else ():
        outcome: dict[str, Any] = {
            "signature": record.signature_of(frozen),
            "objective": record.objective_of(frozen),
            "error": record.error_of(frozen),
            "reused_from": record.reused_from(frozen),
        }
        trial = record.name_of(frozen)
        row = rows.get(trial, {})
        other = [name for name, value in outcome.items() if row.get(name) != value]
        differs = (
            (f"{', '.join(other)} of the final table, not as in the journal",) if other else ()
        )
        trials.append(
            Recorded(
                trial=trial,
                params=frozen.params,
                stopped=record.stopped_after(frozen) is not None,
                differs=differs,
                **outcome,
            )
        )
    return [*fixed, *trials]


def _chosen(recorded: Sequence[Recorded], only: Sequence[str]) -> list[Recorded]:
    names = [each.trial for each in recorded]
    for name in only:
        if name not in names:
            raise ConfigError(
                f"there is no trial {name!r}.{did_you_mean(name, names)} The sweep has {', '.join(names)}."
            )
    return [each for each in recorded if not only or each.trial in only]


@contextlib.contextmanager
def _ray_of(sweep: SweepBase, scratch: Store, n_cpus: int | None) -> Iterator[None]:
    """Have Ray running where trials have several workers; one worker trains in this process."""
    if sweep.workers == 1:
        yield
        return
    with ray_session(n_cpus, scratch):
        check_fits(sweep, 1, Room.of_the_cluster())
        yield


@contextlib.contextmanager
def _interruptible(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedSweepError(
            f"the replay of sweep {name!r} was interrupted. It keeps nothing; the same command begins again."
        ) from None
