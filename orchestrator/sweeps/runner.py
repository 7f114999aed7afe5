"""Run a sweep of whichever method: once, from where it was, or not at all where its final table is in the store."""

import contextlib
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import ray

from orchestrator.config.changes import Difference
from orchestrator.config.sweep import dump
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import (
    ConfigError,
    InterruptedSweepError,
    OrchestratorError,
    SetupError,
    TerminatedSweepError,
)
from orchestrator.labels import LabelGate
from orchestrator.method import Method, method_of
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import check_changes, test_stages_were_read
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt, signals_to
from orchestrator.sweeps.lock import sweep_lock
from orchestrator.sweeps.loop import check_search, n_concurrent, run_method
from orchestrator.sweeps.manifest import tell_other_code
from orchestrator.sweeps.search.journal import check_stored_journal
from orchestrator.sweeps.search.spend import check_priced
from orchestrator.sweeps.workers import Room, check_fits
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.notices import notices
from orchestrator.telemetry.progress import note
from orchestrator.telemetry.ray_address import cluster_address
from orchestrator.telemetry.session import ray_session
from orchestrator.telemetry.termination import last_word


def run_sweep(
    store: Store, sweep: SweepBase, *, n_cpus: int | None = None, retry_failed: bool = False
) -> pa.Table:
    """Run a sweep, or what is left of it, and return its final table.

    A sweep whose final table is in the store is looked up. One that was killed goes on: finished trials are in
    its Optuna study, their predictions in the store, and so are the last checkpoints of those that were running.

    Parameters
    ----------
    store : Store
    sweep : SweepBase
    n_cpus : int, optional
        CPUs of a Ray session started here; all that this process may use by default.
    retry_failed : bool
        Try the failed trials of a sweep that has not ended again.

    Raises
    ------
    ConfigError
        The sweep file or its data changed since the sweep began, a name in it is unknown, or another process runs
        the sweep.
    IntegrityError
        A file that the sweep has stored is damaged.
    SweepFailedError
        Every trial failed, or more than the quota.
    InterruptedSweepError
        Ctrl-C during the trials, or SIGTERM at any time; the same call goes on.
    """
    check_changes(store, sweep)
    method = method_of(store, sweep)
    check_search(store, method)
    _check_same_data(store, sweep.name, *method.data_id)
    if store.exists(paths.sweep_trials(sweep.name)):
        return store.read_table(paths.sweep_trials(sweep.name))
    if retry_failed and test_stages_were_read(store, sweep.name):
        raise ConfigError(
            f"sweep {sweep.name!r} has come to its end, and its test stages were read: --retry-failed comes too late. "
            "Without it, the final table is written."
        )
    check_stored_journal(store, sweep.name)
    if not ray.is_initialized() and cluster_address() is None:  # told before Ray is started
        check_fits(sweep, n_concurrent(method), Room.of_this_machine(n_cpus))
    halt = Halt()
    with signals_to(halt), sweep_lock(store, sweep.name, halt):
        # Again: until the lock was ours, another process could begin the sweep with other settings, or end it.
        changes = check_changes(store, sweep)
        _check_same_data(store, sweep.name, *method.data_id)
        if store.exists(paths.sweep_trials(sweep.name)):
            return store.read_table(paths.sweep_trials(sweep.name))
        return _run_locked(
            store, sweep, method, halt, changes, n_cpus=n_cpus, retry_failed=retry_failed
        )


def _run_locked(
    store: Store,
    sweep: SweepBase,
    method: Method[Any],
    halt: Halt,
    changes: Sequence[Difference],
    *,
    n_cpus: int | None,
    retry_failed: bool,
) -> pa.Table:
    """Run a sweep whose lock is ours, and return its final table."""
    with (
        EventLog(store, paths.sweep_events(sweep.name), failed=halt.stop) as log,
        notices(sweep.notify, sweep.name, store.uri, log),
        _telling_why(log, sweep.name, halt),
        ray_session(n_cpus, store),
    ):
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        log.emit(
            "sweep_started",
            machine=platform.machine(),
            n_cpus=resources.get("CPU", 0),
            n_gpus=resources.get("GPU", 0),
        )
        check_fits(sweep, n_concurrent(method), Room.of_the_cluster())
        # Of a sweep that goes on with its budget, only if trials are left.
        begins = not store.exists(paths.sweep_file(sweep.name))
        if begins or any(change.key == "search.max_usd" for change in changes):
            check_priced(sweep.search, ray.nodes())  # type: ignore[no-untyped-call]
        if changes:
            _tell_changes(sweep.name, changes, log)
        tell_other_code(store, sweep.name, log)  # now: files may change while much is prepared
        _remove_partials(store, sweep.name)
        method.prepare()
        _tell_other_version(store, sweep.name, log)
        store.write_bytes(paths.sweep_file(sweep.name), dump(sweep).encode())
        run = Run(store=store, sweep=sweep, log=log, halt=halt, retry_failed=retry_failed)
        with halt.heeded():
            table = run_method(method, LabelGate(store, log), run)
            store.write_table(paths.sweep_trials(sweep.name), table)
        log.emit("sweep_finished", n_trials=len(table))
        return table


@contextlib.contextmanager
def _telling_why(log: EventLog, name: str, halt: Halt) -> Iterator[None]:
    """Note why an attempt ends early, whatever the reason."""

    def tell(error: BaseException) -> None:
        if _has_finished(log):
            return
        with contextlib.suppress(SetupError):  # of a log that cannot be written: `error` counts
            log.emit("sweep_stopped", reason=type(error).__name__, message=str(error))

    def tell_at_last() -> None:
        tell(_interrupted(name, TerminatedSweepError))
        log.close()

    try:
        with last_word(tell_at_last):
            yield
    except OrchestratorError as error:
        tell(error)
        raise
    except (Exception, KeyboardInterrupt) as error:
        if halt.terminated:  # and Ray perhaps, too: whatever it says then is no reason
            terminated = _interrupted(name, TerminatedSweepError)
            tell(terminated)
            raise terminated from error
        is_wish = isinstance(error, KeyboardInterrupt)
        tell(_interrupted(name, InterruptedSweepError) if is_wish else error)
        raise


def _has_finished(log: EventLog) -> bool:
    """Whether the log says so; where it cannot be read, what has happened otherwise counts."""
    try:
        return any(event["event"] == "sweep_finished" for event in log.events())
    except OrchestratorError:
        return False


def _interrupted(name: str, kind: type[InterruptedSweepError]) -> InterruptedSweepError:
    return kind(f"sweep {name!r} was interrupted. The same command goes on where it was.")


def _remove_partials(store: Store, name: str) -> None:
    """Remove what killed writers left of models, weights and predictions.

    Not beside the lock: another process that asks for it may just be writing there.
    """
    folder = paths.sweep_folder(name)
    for each in store.folders(folder):
        store.remove_partials(f"{folder}/{each}")


def _tell_changes(name: str, changes: Sequence[Difference], log: EventLog) -> None:
    """Say with which other settings a begun sweep goes on."""
    texts = [str(change) for change in changes]
    log.emit("settings_changed", changes=texts)
    note(f"sweep {name!r} goes on with other settings: {'; '.join(texts)}")


def _tell_other_version(store: Store, name: str, log: EventLog) -> None:
    """Say that a sweep goes on with another version of this package; what is done stays as it is."""
    if not store.exists(paths.sweep_manifest(name)):
        return
    versions = read_json(store, paths.sweep_manifest(name), {"versions": dict})["versions"]
    before, now = versions.get("sleep-orchestrator"), version("sleep-orchestrator")
    if before != now:
        log.emit("other_version", before=before, now=now)
        note(f"sweep {name!r} was begun with version {before} and goes on with {now}")


def _check_same_data(store: Store, name: str, key: str, now: str) -> None:
    path = paths.sweep_manifest(name)
    if not store.exists(path):
        return
    begun_with = read_json(store, path, {key: str})[key]
    if begun_with != now:
        raise ConfigError(
            f"the epochs of sweep {name!r} changed since it began ({key} {begun_with}, now {now}). "
            f"Run the sweep under another name with `--as NEWNAME`, or remove {store.uri_of(paths.sweep_folder(name))}."
        )
