"""Trials of finished sweeps, for the sampler of another one to learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow.compute as pc

from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.config.yaml_source import shown
from orchestrator.errors import ConfigError
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.search.samplers import distribution
from orchestrator.sweeps.search.study import Study
from orchestrator.tables.shown import shown_by_method
from orchestrator.telemetry.progress import note
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierTrials:
    """What a finished sweep can teach a search."""

    sweep: str
    inside: dict[str, tuple[dict[str, Any], float]]
    """Parameters and objective of each trial, by name."""
    outside: dict[str, str]
    """Why a trial cannot be used, by name."""


def adopt_trials(
    run: Run, search: SearchBase, space: Space, fixed: Mapping[str, Any], study: Study
) -> None:
    """Add the trials of ``search.warm_start`` to a study; once, whatever the attempt.

    They count neither as trials of this sweep nor for its budgets. `fixed` are the values of what is not varied.
    """
    ranges = {name: distribution(declared) for name, declared in space.items()}
    for name in search.warm_start:
        if name in study.adopted_sweeps:
            continue
        columns = shown_by_method()[run.sweep.method].columns
        earlier = earlier_trials(run.store, name, space, fixed, columns)
        for trial, (params, objective) in earlier.inside.items():
            drawn = {key: ranges[key] for key in params}
            study.adopt(f"{name}/{trial}", params, drawn, objective)
        study.note_adopted(name)
        run.log.emit(
            "warm_started", sweep=name, n_trials=len(earlier.inside), left_out=earlier.outside
        )
        note(
            f"warm start: {len(earlier.inside)} trials of {name!r}, {len(earlier.outside)} left out"
        )
        for trial, why in earlier.outside.items():
            note(f"  {name}/{trial}: {why}")


def check_warm_start(store: Store, sweep: SweepBase, search: SearchBase, objective: str) -> None:
    """Check that a search can learn from the sweeps that it names, unless it has begun: then it has learned.

    Parameters
    ----------
    store : Store
    sweep : SweepBase
    search : SearchBase
        Of the sweep.
    objective : str
        Of the search.

    Raises
    ------
    ConfigError
        A sweep that is not in the store, has not ended, or is of another method or objective or for other stages.
    """
    if store.exists(paths.sweep_journal(sweep.name)):
        return
    if sweep.name in search.warm_start:
        raise ConfigError(f"search.warm_start names {sweep.name!r}, which is this sweep itself.")
    mine = {
        "method": sweep.method,
        "objective": objective,
        "declared_stages": [stage.name for stage in sweep.stages],
    }
    for name in search.warm_start:
        where = f"search.warm_start names {name!r}, which"
        if not store.exists(paths.sweep_trials(name)):
            raise ConfigError(
                f"{where} has no final table in {store.uri}. Run it first, to its end, or remove the name."
            )
        manifest = read_json(
            store, paths.sweep_manifest(name), dict.fromkeys(mine, str) | {"declared_stages": list}
        )
        for key, own in mine.items():
            if manifest[key] != own:
                raise ConfigError(
                    f"{where} has the {key} {shown(manifest[key])}; this search has {shown(own)}. Their values cannot "
                    "be compared; remove the name."
                )
    if search.warm_start and search.also:
        raise ConfigError(
            "search.warm_start works with a single objective; remove it, or remove search.also."
        )


def earlier_trials(
    store: Store,
    name: str,
    space: Space,
    fixed: Mapping[str, Any],
    columns: Mapping[str, str] = MappingProxyType({}),
) -> EarlierTrials:
    """Read what a finished sweep can teach a search over a space.

    Parameters
    ----------
    store : Store
    name : str
        Of the finished sweep.
    space : Space
    fixed : mapping
        Values of the parameters that the search does not vary.
    columns : mapping
        Parameter -> column that has its values, where that has another name.
    """
    table = store.read_table(paths.sweep_trials(name))
    is_trial = pc.and_(pc.equal(table["kind"], "trial"), pc.is_valid(table["objective"]))
    inside: dict[str, tuple[dict[str, Any], float]] = {}
    outside: dict[str, str] = {}
    for row in table.filter(is_trial).to_pylist():
        try:
            params = _params(row, space, fixed, columns)
            inside[row["trial"]] = params, row["objective"]
        except ValueError as error:
            outside[row["trial"]] = str(error)
    return EarlierTrials(sweep=name, inside=inside, outside=outside)


def _params(
    row: Mapping[str, Any], space: Space, fixed: Mapping[str, Any], columns: Mapping[str, str]
) -> dict[str, Any]:
    for name, value in fixed.items():
        if row.get(name) != value:
            raise ValueError(f"{name} {row.get(name)} is not {value}, which this sweep fixes")
    found: dict[str, Any] = {}
    for name, declared in space.items():
        value = row.get(columns.get(name, name))
        if value is None:
            raise ValueError(f"has no {name}")
        if not declared.contains(value):
            raise ValueError(
                f"{name} {value:g} lies outside"
                if isinstance(value, float)
                else f"{name} {value} lies outside"
            )
        found[name] = value
    return found
