"""Trials and arms of a finished sweep of SelectiveFinetuning, trained again from what the store has."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from orchestrator.config.sweep import SelectiveSweep
from orchestrator.labels import LabelGate
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.reports import InputsRef
from orchestrator.sweep.samplers import Ranges
from orchestrator.sweep.selective import trial
from orchestrator.sweep.selective.plan import plan_sweep
from orchestrator.sweep.selective.run import (
    finetuning_stages,
    objective_judge,
    trial_inputs,
)
from orchestrator.sweep.selective.scoring import stored_scoring
from orchestrator.sweep.selective.worth import objective_value


class SelectiveReplay:
    """See :class:`orchestrator.sweep.replay.MethodReplay`."""

    def __init__(self, store: Store, sweep: SelectiveSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_sweep(sweep, store)
        self._inputs: trial.TrialInputs
        self._inputs_ref: InputsRef | None = None
        self._judge: Judge

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the score table, which the epochs are a part of."""
        encoder_id = self._plan.encoder_request().encoder_id
        return "score_id", self._plan.score_request(encoder_id).score_id

    @property
    def space(self) -> Ranges:
        """What the search varied."""
        return self._sweep.search.space.declared()

    @property
    def first(self) -> list[dict[str, float]]:
        """Configurations that it tried before any other."""
        return self._sweep.search.first_trials()

    def prepare(self, gate: LabelGate, scratch: Store) -> None:
        """Read encoder, rewards, signals and stages."""
        scored = stored_scoring(self._store, self._plan)
        stages = finetuning_stages(gate, self._plan)
        self._judge = objective_judge(gate, self._plan)
        self._inputs = replace(trial_inputs(self._store, scored, stages), store_uri=scratch.uri)
        if self._sweep.workers > 1:
            self._inputs_ref = [ray.put(self._inputs)]

    def signature(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Return the id of all that the predictions of a trial or arm depend on."""
        return trial.signature_of_all(self._inputs, self._seeds(name, params))

    def stored(self, name: str, params: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Return under which names the predictions are stored, those of each seed."""
        return tuple(trial.signature(self._inputs, one) for one in self._seeds(name, params))

    def train(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Train a trial or arm with each seed, write its predictions, and return its signature."""
        return trial.run_all(self._inputs, self._seeds(name, params), self._inputs_ref)

    def objective(self, predictions: pa.Table) -> float:
        """Return what predictions are worth."""
        return objective_value(self._sweep, self._judge, predictions)

    def _seeds(
        self, name: str, params: Mapping[str, Any] | None
    ) -> tuple[trial.Configuration, ...]:
        if params is None:
            return trial.arm_configurations(self._inputs, name.removeprefix("arm-"))
        return trial.trial_configurations(self._inputs, params)
