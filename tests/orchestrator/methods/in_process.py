"""The driver's part of a sweep in one process, without Ray: what runs arms or rows, and what runs a search."""

import itertools
from pathlib import Path
from typing import Any

from orchestrator.store import paths
from orchestrator.sweep.execution import Run
from orchestrator.sweep.reports import so_far
from orchestrator.sweep.search.searcher import Hooks, begin_search
from orchestrator.sweep.search.study import Study
from orchestrator.sweep.search.tuning import SearchResult


def fixed_here(run: Run, kind: str, names: list[str], trial: Any, inputs_ref: Any) -> Any:
    """Run rows in this process, one after the other."""
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
    """Run the trials of a search in this process, one after the other."""
    journal = Path(run.store.uri_of(paths.sweep_journal(run.sweep.name)))
    study = Study(run.sweep.name, journal)
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
            return SearchResult(trials=study.trials, front=set())
        searcher.on_trial_complete(
            number, trial(inputs_ref, params, lambda n_done, objective=None: None)
        )
