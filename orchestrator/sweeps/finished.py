"""A finished sweep as the store has it, for what trains some of it again: ``replay``, and ``sweep --keep``.

The proposals come from a copy of the journal. What is trained goes to a folder that is thrown away, with the store's
encoder and score table, and is held against the record. The labels that this needs are read through a gate with a
ledger of its own, and test labels not at all: equal predictions have equal test metrics.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray

from orchestrator.config.suggest import did_you_mean
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError, InterruptedSweepError
from orchestrator.labels import LabelGate
from orchestrator.method import Method
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.lines import whole_lines
from orchestrator.store.provenance import recorded_code, this_code
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import stored_sweep
from orchestrator.sweeps.comparison import Comparison, Recorded
from orchestrator.sweeps.search import study as record
from orchestrator.sweeps.search.journal import check_journal
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.watch.status import sweep_status
from orchestrator.sweeps.workers import Room, check_fits
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note
from orchestrator.telemetry.session import ray_session

_COUNTS = ("sleep-orchestrator", "torch", "numpy", "optuna")
"""Packages whose version the numbers may depend on."""

WHERE_IT_IS_THE_SAME = (
    "on the same kind of CPU and with the versions that its manifest.json names. Where that differs, too, a file of "
    "the sweep was changed since, or sums were rounded otherwise"
)
"""What to do about predictions that are not as recorded."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedSweep:
    """A finished sweep whose recordings are as they were. Made by :func:`opened`."""

    store: Store
    method: Method[Any]
    rows: Mapping[str, Row]
    """Of the final table, by trial."""
    study: Study | None
    """From a copy of the journal; None where it had no search."""
    notes: tuple[str, ...]
    """What is not as it was when the sweep ran, such as a version."""
    folder: Path
    """Of its own; what is written there is thrown away."""

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.method.sweep.name

    @property
    def scratch(self) -> Store:
        """The store that is thrown away."""
        return Store.open(str(self.folder))

    @property
    def recorded(self) -> list[Recorded]:
        """Arms or rows as the final table has them, then trials as the journal has them."""
        controls = [_recorded_control(row) for row in self.rows.values() if row["kind"] != "trial"]
        trials = self.study.trials if self.study is not None else ()
        return [*controls, *(_recorded_trial(frozen, self.rows) for frozen in trials)]

    @contextlib.contextmanager
    def begun(
        self, event: str, trials: Sequence[str], *, interrupted: str, n_cpus: int | None
    ) -> Iterator[tuple[Comparison, EventLog]]:
        """Begin the method anew, so that its trials write to the scratch store.

        Parameters
        ----------
        event : str
            Of the ledger, before any label is read.
        trials : sequence of str
            What is to be trained again.
        interrupted : str
            What is said after Ctrl-C.
        n_cpus : int, optional
            CPUs of the Ray session that several workers run in; one worker needs none.

        Yields
        ------
        Comparison, EventLog
            Who trains what was recorded again and compares, and the ledger of the labels that are read.
        """
        for text in self.notes:
            note(text)
        sweep, scratch = self.method.sweep, self.scratch
        with (
            EventLog(self.store, paths.replay_events(self.name)) as log,
            _ray_of(sweep, scratch, n_cpus),
            _interruptible(interrupted),
        ):
            log.emit(event, trials=list(trials))
            inputs = self.method.begin(LabelGate(self.store, log), scratch)
            inputs_ref = [ray.put(inputs)] if sweep.workers > 1 else None
            yield Comparison(self.method, inputs, inputs_ref, self.store, scratch), log


@contextlib.contextmanager
def opened(store: Store, method: Method[Any]) -> Iterator[FinishedSweep]:
    """Open a finished sweep by its method.

    Raises
    ------
    ConfigError
        Its data changed.
    IntegrityError
        A file of the sweep is damaged.
    """
    name = method.sweep.name
    key, now = method.data_id
    manifest = read_json(store, paths.sweep_manifest(name), {"versions": dict, key: str})
    _check_same_data(name, manifest, key, now)
    with tempfile.TemporaryDirectory(prefix="orchestrator-replay-") as folder:
        yield FinishedSweep(
            store=store,
            method=method,
            rows=final_rows(store, name),
            # A copy, because Optuna appends to a journal that it opens.
            study=_study(store, name, Path(folder) / "recorded.journal"),
            notes=(*_other_versions(manifest["versions"]), *other_code(store, name)),
            folder=Path(folder),
        )


def finished_sweep(store: Store, name: str, wish: str) -> SweepBase:
    """Return the sweep file that the store keeps of a finished sweep.

    Parameters
    ----------
    store : Store
    name : str
    wish : str
        What cannot be done with one that has not finished, such as ``cannot be replayed``.

    Raises
    ------
    ConfigError
        There is no such sweep, or it has not finished.
    """
    if not store.exists(paths.sweep_trials(name)):
        state = sweep_status(store, name).state
        raise ConfigError(
            f"sweep {name!r} {wish}: it is {state}. Finish it with `orchestrator sweep` first."
        )
    sweep = stored_sweep(store, name)
    assert sweep is not None, "it is written before the first trial"
    return sweep


def final_rows(store: Store, name: str) -> dict[str, Row]:
    """Return the rows of a final table by trial."""
    return {row["trial"]: row for row in store.read_table(paths.sweep_trials(name)).to_pylist()}


def check_known(trial: str, names: Sequence[str]) -> None:
    """Refuse the name of a trial that a sweep does not have."""
    if trial not in names:
        raise ConfigError(
            f"there is no trial {trial!r}.{did_you_mean(trial, names)} The sweep has {', '.join(names)}."
        )


def other_code(store: Store, name: str) -> list[str]:
    """Say that a sweep ran with another ``trainables/``; empty where it did not, or did not record it."""
    recorded, now = recorded_code(store, paths.sweep_manifest(name)), this_code()
    if recorded is None or recorded.trainables_sha256 == now.trainables_sha256:
        return []
    return [f"the sweep ran with {recorded.text}, this is {now.text}"]


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


def _study(store: Store, name: str, copy: Path) -> Study | None:
    journal = store.read_if_there(paths.sweep_journal(name))
    if journal is None:
        return None
    copy.write_bytes(whole_lines(journal))
    check_journal(copy, store.uri_of(paths.sweep_journal(name)), name)
    return Study(name, copy)


def _recorded_control(row: Row) -> Recorded:
    return Recorded(
        trial=row["trial"],
        params=None,
        signature=row["signature"],
        objective=row["objective"],
        error=row["error"],
        reused_from=None,
    )


def _recorded_trial(frozen: Any, rows: Mapping[str, Row]) -> Recorded:
    outcome: dict[str, Any] = {
        "signature": record.signature_of(frozen),
        "objective": record.objective_of(frozen),
        "error": record.error_of(frozen),
        "reused_from": record.reused_from(frozen),
    }
    trial = record.name_of(frozen)
    row = rows.get(trial, {})
    other = [name for name, value in outcome.items() if row.get(name) != value]
    differs = (f"{', '.join(other)} of the final table, not as in the journal",) if other else ()
    return Recorded(
        trial=trial,
        params=frozen.params,
        stopped=record.stopped_after(frozen) is not None,
        differs=differs,
        **outcome,
    )


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
def _interruptible(message: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedSweepError(message) from None
