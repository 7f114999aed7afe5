"""A sweep that has begun: its file as the store keeps it, and how a changed one goes on with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.changes import OF_THE_RUN, Difference, differences, why_not
from orchestrator.config.sweep import load_sweep, renamed
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.labels import JUDGING
from orchestrator.store import paths
from orchestrator.store.decoding import advice
from orchestrator.store.store import Store
from orchestrator.telemetry.events import read_events


def stored_sweep(store: Store, name: str) -> SweepBase | None:
    """Return the file of a sweep as it was begun, its missing keys as they were meant then; None before it begins.

    Raises
    ------
    IntegrityError
        It is no sweep file. This package wrote it, so whatever is wrong with it is no mistake of the user's.
    """
    path = paths.sweep_file(name)
    if not store.exists(path):
        return None
    with store.local_copy(path) as file:
        try:
            return load_sweep(file, unnumbered=0)  # version 0.1 wrote no number
        except ConfigError as error:
            where = store.uri_of(path)
            raise IntegrityError(
                f"the file that sweep {name!r} keeps of its beginning is damaged, or of a later version:\n"
                f"{str(error).replace(str(file), where)}\n{advice(where)}"
            ) from error


def read_sweep(
    file: str | Path | Mapping[str, Any], store: Store, name: str | None = None
) -> SweepBase:
    """Read a sweep file of which a sweep may have begun: then keys that it leaves out mean what they meant there.

    Parameters
    ----------
    file : str, Path or mapping
        The file, or its keys.
    store : Store
    name : str, optional
        Of the sweep; that in the file by default.

    Raises
    ------
    ConfigError
        Everything that is wrong with it, or `name` is no name that a file may have.
    """

    def read(unnumbered: int | None = None) -> SweepBase:
        sweep = load_sweep(file, unnumbered=unnumbered)
        return sweep if name is None else renamed(sweep, name)

    sweep = read()
    begun = stored_sweep(store, sweep.name)
    return sweep if begun is None or begun.defaults == sweep.defaults else read(begun.defaults)


def check_changes(store: Store, sweep: SweepBase) -> list[Difference]:
    """Return what changed in a sweep's file since it began, all of which it can go on with.

    Of a sweep that has ended, only what would have changed nothing of its tables may differ.

    Raises
    ------
    ConfigError
        It cannot.
    """
    begun = stored_sweep(store, sweep.name)
    if begun is None:
        return []
    found = differences(begun, sweep)
    folder = store.uri_of(paths.sweep_folder(sweep.name))
    refused = [f"{one} ({why})" for one in found if (why := why_not(one, begun, sweep)) is not None]
    if refused:
        raise ConfigError(
            f"sweep {sweep.name!r} was begun with other settings: {'; '.join(refused)}. Run the changed file under "
            f"another name with `--as NEWNAME`, or remove {folder}."
        )
    late = [str(one) for one in found if one.key not in OF_THE_RUN]
    if late and test_stages_were_read(store, sweep.name):
        raise ConfigError(
            f"sweep {sweep.name!r} has ended, and its test stages were read: {'; '.join(late)} comes too late. Run the "
            f"changed file under another name with `--as NEWNAME`; with search.warm_start: [{sweep.name}] its sampler "
            "learns from the trials of this one."
        )
    return found


def test_stages_were_read(store: Store, name: str) -> bool:
    """Whether a sweep has come to its end, be it that its final table is still to be written.

    Raises
    ------
    IntegrityError
        A line of its event log is damaged.
    """
    if store.exists(paths.sweep_trials(name)):
        return True
    events = read_events(store, paths.sweep_events(name))
    return any(e["event"] == "labels_read" and e.get("split") in JUDGING for e in events)
