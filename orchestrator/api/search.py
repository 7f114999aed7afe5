"""Sweeps: run, looked at, reviewed."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.caller import check_cpus, undisturbed_chance, undisturbed_environment
from orchestrator.config.sweep import load_sweep, renamed
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError, DataError
from orchestrator.reviews.report import PAGE, no_sweep, write_review
from orchestrator.store import paths
from orchestrator.store.placement import open_store
from orchestrator.store.store import Store
from orchestrator.tables.trials import chosen_row
from orchestrator.telemetry.session import prepare_ray_environment

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Results:
    """The tables of a finished sweep, as pandas frames. What a column means, ``docs/tables.md`` says."""

    store: Store
    name: str
    """Of the sweep."""

    @cached_property
    def table(self) -> "pa.Table":
        """The final table as it is stored."""
        return self.store.read_table(paths.sweep_trials(self.name))

    @property
    def settings(self) -> SweepBase:
        """What the sweep file said, with every default filled in."""
        from orchestrator.sweeps.begun import stored_sweep

        found = stored_sweep(self.store, self.name)
        assert found is not None, "it is written before the first trial"
        return found

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each trial, arm or row (``kind``)."""
        return self.table.to_pandas()

    @property
    def by_subject(self) -> "pd.DataFrame":
        """A row for each configuration, seed, fold and subject that judges it.

        Raises
        ------
        DataError
            The sweep has no such table: its target has no labels, or version 0.1 wrote it.
        """
        path = paths.sweep_trials_by_subject(self.name)
        if not self.store.exists(path):
            raise DataError(
                f"sweep {self.name!r} has no table of subjects, {self.store.uri_of(path)}: its target has no labels, "
                "or version 0.1 ran it. Run it again under another name to have one."
            )
        return self.store.read_table(paths.sweep_trials_by_subject(self.name)).to_pandas()

    @property
    def best(self) -> "pd.Series[Any]":
        """The chosen trial, the row with the highest objective.

        Raises
        ------
        DataError
            No trial has an objective.
        """
        chosen = chosen_row(self.table.to_pylist())
        if chosen is None:
            raise DataError(f"no trial of sweep {self.name!r} has an objective, so none is chosen.")
        trials = self.trials
        return trials.loc[trials["trial"] == chosen["trial"]].iloc[0]

    def __repr__(self) -> str:
        return f"Results of sweep {self.name!r} in {self.store.uri}: {len(self.table)} rows"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.trials.to_html(notebook=True)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """The page of a sweep, which a notebook shows."""

    uri: str
    """Of the page, ``review.html``."""
    html: str = field(repr=False)
    """The page; it needs no other file."""

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:700px;border:0"></iframe>'


def sweep(
    file: str | Path | Mapping[str, Any],
    *,
    store: str | Path | None = None,
    name: str | None = None,
    n_cpus: int | None = None,
    retry_failed: bool = False,
) -> Results:
    """Run the search of a sweep file, with its control arms or rows.

    A sweep that is complete is looked up; one that was killed goes on. Once trials run, Ctrl-C, or the stop button of a
    notebook, lets these finish, and the second one ends them at their last checkpoints; before, it stops at once, with
    KeyboardInterrupt. SIGTERM ends the process itself, if what it runs does not end within seconds.

    Parameters
    ----------
    file : str, Path or mapping
        A sweep file, or its keys.
    store : str or Path, optional
        Folder, or ``s3://bucket/prefix``, of everything durable. By default that of the environment variable
        ORCHESTRATOR_STORE, or else the folder ``runs``.
    name : str, optional
        To run it under another name than the file's.
    n_cpus : int, optional
        CPUs to use on this machine; all that this process may use by default.
    retry_failed : bool
        Try failed trials again, where the sweep has not ended.

    Raises
    ------
    ConfigError
        The file is wrong; or it, or its data, changed since the sweep began.
    SweepFailedError
        Every trial failed, or more than the quota.
    InterruptedSweepError
        It was stopped. The same call goes on.
    """
    read, opened = open_sweep(file, store, name)
    check_cpus(n_cpus)
    with undisturbed_environment(), undisturbed_chance():
        prepare_ray_environment()
        from orchestrator.sweeps.runner import run_sweep

        run_sweep(opened, read, n_cpus=n_cpus, retry_failed=retry_failed)
    return Results(store=opened, name=read.name)


def open_sweep(
    file: str | Path | Mapping[str, Any], store: str | Path | None, name: str | None = None
) -> tuple[SweepBase, Store]:
    """Read a sweep file, whose mistakes are told before the store is asked, and open the store."""
    read = load_sweep(file)
    if name is not None:
        renamed(read, name)
    opened = open_store(store, writable=True)
    from orchestrator.sweeps.begun import read_sweep

    return read_sweep(file, opened, name), opened


def results(name: str, *, store: str | Path | None = None) -> Results:
    """Open the tables of a finished sweep.

    Parameters
    ----------
    name : str
        Of the sweep.
    store : str or Path, optional
        As for :func:`sweep`.

    Raises
    ------
    ConfigError
        There is no such sweep, or it has not finished.
    """
    opened = open_store(store)
    if not opened.exists(paths.sweep_trials(name)):
        raise ConfigError(no_sweep(name, opened))
    return Results(store=opened, name=name)


def review(name: str, *, store: str | Path | None = None) -> Review:
    """Write the review of a finished sweep.

    Parameters
    ----------
    name : str
        Of the sweep.
    store : str or Path, optional
        As for :func:`sweep`.

    Raises
    ------
    ConfigError
        There is no such sweep, or it has not finished.
    DataError
        Another version wrote its tables.
    """
    opened = open_store(store, writable=True)
    uri = write_review(opened, name)
    return Review(uri=uri, html=opened.read_bytes(paths.review(name, PAGE)).decode())
