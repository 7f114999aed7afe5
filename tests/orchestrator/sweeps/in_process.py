"""A whole sweep in this process, one training after the other, without Ray: the same driver and the same trials."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.config.sweep import dump
from orchestrator.labels import LabelGate
from orchestrator.method import method_of
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import loop, remote
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import so_far
from orchestrator.sweeps.search.searcher import Hooks, begin_search
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.search.tuning import SearchResult
from orchestrator.telemetry.events import EventLog


def run_here(store: Store, sweep: Any) -> pa.Table:
    """Run a sweep to its end; what its method would prepare is in the store."""
    with (
        pytest.MonkeyPatch.context() as patch,
        EventLog(store, paths.sweep_events(sweep.name)) as log,
    ):
        patch.setattr(loop, "run_fixed", fixed_here)
        patch.setattr(loop, "run_search", search_here)
        here = SimpleNamespace(put=lambda value: value, get=lambda value: value)
        patch.setattr(loop, "ray", here)
        patch.setattr(remote, "ray", here)
        store.write_bytes(paths.sweep_file(sweep.name), dump(sweep).encode())
        log.emit("sweep_started", machine="here", n_cpus=1, n_gpus=0)
        run = Run(store=store, sweep=sweep, log=log, halt=Halt())
        table = loop.run_method(method_of(store, sweep), LabelGate(store, log), run)
        store.write_table(paths.sweep_trials(sweep.name), table)
    return table


def fixed_here(run: Run, kind: str, names: list[str], trial: Any, inputs_ref: Any) -> Any:
    """Run arms or rows, one after the other."""
    return {name: trial(inputs_ref, name) for name in names}


def search_here(
    run: Run,
    search: Any,
    *,
    space: Any,
    first: Any,
    trial: Any,
    inputs_ref: Any,
    identify: Any,
    evaluate: Any,
    **told: Any,
) -> Any:
    """Run the trials of a search, one after the other."""
    journal = Path(run.store.uri_of(paths.sweep_journal(run.sweep.name)))
    study = Study(run.sweep.name, journal, search.directions)
    searcher = begin_search(
        study,
        space,
        first,
        search,
        seed=run.sweep.seed,
        hooks=Hooks(
            identify=identify,
            evaluate=evaluate,
            evaluate_part=so_far,
            changed=lambda: None,
            told=lambda told: None,
            started=lambda name, signature, params: None,
            exhausted=lambda: None,
            is_held=lambda: False,
        ),
        halt=run.halt,
    )
    for number in map(str, itertools.count()):
        params = searcher.suggest(number)
        if not isinstance(params, dict):
            return SearchResult(trials=study.trials, front=study.front if search.also else set())
        searcher.on_trial_complete(
            number, trial(inputs_ref, params, lambda n_done, objective=None: None)
        )
