"""Trials of a finished sweep of pretrainings, trained again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from orchestrator.config.pretrain import PretrainSweep
from orchestrator.labels import LabelGate
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.pretrain import trial
from orchestrator.sweep.pretrain.plan import plan_pretraining
from orchestrator.sweep.pretrain.run import objective_judge
from orchestrator.sweep.samplers import Ranges


class PretrainReplay:
    """See :class:`orchestrator.sweep.comparison.MethodReplay`; there is nothing but trials."""

    def __init__(self, store: Store, sweep: PretrainSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_pretraining(sweep, store)
        self._inputs: trial.TrialInputs
        self._judge: Judge

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    @property
    def space(self) -> Ranges:
        """What the search varied."""
        return self._sweep.search.space.declared()

    @property
    def first(self) -> list[dict[str, float]]:
        """Configurations that it tried before any other."""
        return self._sweep.first_trials()

    def prepare(self, gate: LabelGate, scratch: Store) -> None:
        """Read signals and stages; encoders are written to `scratch`, which has none yet."""
        inputs = trial.trial_inputs(self._store, self._plan, gate)
        self._judge = objective_judge(gate, self._plan)
        self._inputs = replace(inputs, store_uri=scratch.uri)

    def signature(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Return the id of the encoder of a trial."""
        return trial.signature(self._plan, params or {})

    def stored(self, name: str, params: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Return under which name its predictions are stored."""
        return (self.signature(name, params),)

    def train(self, name: str, params: Mapping[str, Any] | None) -> str:
        """Pretrain the encoder of a trial, write its predictions, and return its signature."""
        return trial.run(self._inputs, params or {})

    def objective(self, predictions: pa.Table) -> float:
        """Return what predictions are worth."""
        return self._judge.evaluate(predictions).macro_f1
