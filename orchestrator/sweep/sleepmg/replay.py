"""Trials and rows of a finished sweep of SleepMG, trained again, every fold of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from orchestrator.config.sleepmg import SleepMGSweep
from orchestrator.labels import LabelGate
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.reports import InputsRef
from orchestrator.sweep.samplers import Ranges
from orchestrator.sweep.sleepmg import trial
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs, cross_validation_inputs
from orchestrator.sweep.sleepmg.plan import plan_cross_validation
from orchestrator.sweep.sleepmg.run import objective_judge, rows_by_trial
from trainables.settings import SleepMGSettings


class SleepMGReplay:
    """See :class:`orchestrator.sweep.replay.MethodReplay`."""

    def __init__(self, store: Store, sweep: SleepMGSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_cross_validation(sweep, store)
        self._inputs: CrossValidationInputs
        self._inputs_ref: InputsRef | None = None
        self._judge: Judge

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    @property
    def space(self) -> Ranges:
        """What the search varied; empty where there was none."""
        search = self._sweep.search
        return search.space.declared() if search is not None else {}

    @property
    def first(self) -> list[dict[str, float]]:
        """Configurations that it tried before any other."""
        return list(self._sweep.first_trials())

    def prepare(self, gate: LabelGate, scratch: Store) -> None:
        """Read signals and stages; folds are looked for in `scratch` alone, so every one is trained."""
        inputs = cross_validation_inputs(self._store, self._plan, gate)
        self._judge = objective_judge(gate, self._plan)
        self._inputs = replace(inputs, store_uri=scratch.uri)
        if self._sweep.workers > 1:
            self._inputs_ref = [ray.put(self._inputs)]

    def signature(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Return the id of all that the predictions of a trial or row depend on."""
        return trial.signature_of_all(self._inputs, *self._configuration(name, params))

    def stored(self, name: str, params: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Return under which names the predictions are stored, those of each seed."""
        settings, seeds = self._configuration(name, params)
        return tuple(trial.signature(self._inputs, settings, seed) for seed in seeds)

    def train(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Train the folds of a trial or row with each seed, write its predictions, and return its signature."""
        settings, seeds = self._configuration(name, params)
        for seed in seeds:
            trial.run(self._inputs, settings, seed, inputs_ref=self._inputs_ref)
        return self.signature(name, params)

    def objective(self, predictions: pa.Table) -> float:
        """Return what predictions are worth."""
        return self._judge.evaluate(predictions).macro_f1

    def _configuration(
        self, name: str, params: Mapping[str, Any] | None
    ) -> tuple[SleepMGSettings, tuple[int, ...]]:
        if params is None:
            row, seed = rows_by_trial(self._sweep)[name]
            return self._sweep.row_settings(row), (seed,)
        return self._sweep.settings_for(params), self._sweep.trial_seeds
