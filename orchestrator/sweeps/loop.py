"""The one loop over a method: its arms or rows, its trials, its tables."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from orchestrator.labels import LabelGate
from orchestrator.method import (
    Configured,
    Done,
    InputsRef,
    Method,
    Scores,
)
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.done import done_trial
from orchestrator.sweeps.execution import Run, run_fixed
from orchestrator.sweeps.models import chosen, keep_models
from orchestrator.sweeps.remote import train_configured, train_one, train_proposed
from orchestrator.sweeps.reports import ERROR, SIGNATURE, Outcome
from orchestrator.sweeps.search.samplers import check_sampler
from orchestrator.sweeps.search.tuning import run_search
from orchestrator.sweeps.search.warm_start import check_warm_start
from search_spaces.space import Params


def check_search(store: Store, method: Method[Any]) -> None:
    """Check that the sampler can draw from the space, and that sweeps to learn from are there.

    Raises
    ------
    ConfigError
        One of them is not so.
    """
    if method.search is not None:
        check_sampler(method.search, method.space)
        check_warm_start(store, method.sweep, method.search, method.objective_name)


def n_concurrent(method: Method[Any]) -> int:
    """Return how many trials of a search run at the same time; arms and rows take turns."""
    search = method.search
    return min(search.max_concurrent, search.n_trials) if search is not None else 1


def run_method(method: Method[Any], gate: LabelGate, run: Run) -> pa.Table:
    """Run arms or rows and trials, end the search, and return the final table; every other one is written."""
    inputs_ref = [ray.put(method.begin(gate, run.store))]
    method.record(gate, run.log)
    outcomes = _run_controls(run, method, inputs_ref)
    proposed = _searched(run, method, inputs_ref) if method.search is not None else []
    # Judged now, so that a search is not kept from running by predictions that somebody damaged.
    done = [_control(method, name, outcomes[name]) for name in method.controls] + proposed
    gate.end_search()
    tables = dict(method.tables(done, gate, run.log))
    final = tables.pop(paths.sweep_trials(method.sweep.name))
    for path, table in tables.items():
        run.store.write_table(path, table)
    keep_models(run.store, method, _refitted(run, method, done, inputs_ref), final)
    return final


def _run_controls(run: Run, method: Method[Any], inputs_ref: InputsRef) -> dict[str, Outcome]:
    if not method.controls:
        return {}
    train = partial(train_one, trainer=method.trainer)
    outcomes = run_fixed(run, method.control_kind, list(method.controls), train, inputs_ref)
    method.record_controls({name: outcome.get(ERROR) for name, outcome in outcomes.items()})
    return outcomes


def _control(method: Method[Any], name: str, outcome: Outcome) -> Done[Any]:
    trial = method.configured(name, None)
    signature = outcome.get(SIGNATURE)
    scores = method.judge(trial) if signature else None
    return Done(
        name=name,
        trial=trial,
        is_control=True,
        enqueued=True,
        signature=signature,
        objective=scores.values[0] if scores else None,
        replicates=scores.replicates if scores else (),
        error=outcome.get(ERROR),
    )


def _refitted(
    run: Run, method: Method[Any], done: Sequence[Done[Any]], inputs_ref: InputsRef
) -> list[Done[Any]]:
    """Train what chosen trials want trained for their models; return all that has ended, with that in their place."""
    best = chosen(done)
    wanted = {one.name: method.refit(one) for one in done if one.name in best}
    trials = {name: trial for name, trial in wanted.items() if trial is not None}
    if not trials:
        return list(done)
    train = partial(train_configured, trainer=method.trainer, trials=trials)
    outcomes = run_fixed(run, "refit", list(trials), train, inputs_ref)
    return [
        replace(one, trial=trials[one.name], error=outcomes[one.name].get(ERROR))
        if one.name in trials
        else one
        for one in done
    ]


def _searched(run: Run, method: Method[Any], inputs_ref: InputsRef) -> list[Done[Any]]:
    search = method.search
    assert search is not None

    def configured(params: Params) -> Configured:
        trial: Configured = method.configured("", params)
        return trial

    def evaluate(params: Params) -> Scores:
        return method.judge(configured(params))

    found = run_search(
        run,
        search,
        space=method.space,
        first=method.first,
        trial=partial(train_proposed, trainer=method.trainer),
        inputs_ref=inputs_ref,
        identify=lambda params: configured(params).signature,
        evaluate=evaluate,
        evaluate_part=lambda params, report: method.judge_part(configured(params), report),
        objective_name=method.objective_name,
        fixed=method.fixed,
        describe=lambda params: method.described(configured(params)),
    )
    front = found.front if search.also else None
    return [done_trial(method, frozen, front) for frozen in found.trials]
