"""What the predictions of a trial are worth to the search: by the stages that choose among trials, or without any."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.method import Scores
from orchestrator.methods.selective.run.tables import cost
from orchestrator.methods.selective.trial.configuration import Trial, TrialInputs
from orchestrator.methods.selective.trial.finetuning import PARTS_PER_FINETUNING, TARGET_EMD
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judge, certainty, information, probabilities_of
from orchestrator.sweep.reports import N_PARTS
from trainables.stages import Stage


def _information(predictions: pa.Table, role: str, declared: Sequence[Stage]) -> float:
    return information(probabilities_of(predictions, role, declared))


def _minus_emd(predictions: pa.Table, role: str, declared: Sequence[Stage]) -> float:
    return -float(predictions.schema.metadata[TARGET_EMD])


def _certainty(predictions: pa.Table, role: str, declared: Sequence[Stage]) -> float:
    return certainty(probabilities_of(predictions, role, declared))


WITHOUT_LABELS: Mapping[str, Callable[[pa.Table, str, Sequence[Stage]], float]] = {
    "target_information": _information,
    "target_emd": _minus_emd,
    "target_certainty": _certainty,
}
"""Objectives that read no label, from the predictions of one seed, their role and the declared stages; all others are
macro-F1."""


def objective_value(inputs: TrialInputs, judge: Judge, predictions: pa.Table) -> float:
    """Return what predictions are worth to the search: the value that it maximises."""
    value = WITHOUT_LABELS.get(inputs.sweep.search.objective)
    if value is not None:
        return value(predictions, inputs.unlabelled_role, inputs.sweep.stages)
    return float(judge.evaluate(predictions).macro_f1)


class ObjectiveValues:
    """Objectives of trained configurations.

    Parameters
    ----------
    store : Store
    inputs : TrialInputs
    judge : Judge
        Of the objective.
    no_adapt : table
        Predictions of the pretrained model.
    """

    def __init__(self, store: Store, inputs: TrialInputs, judge: Judge, no_adapt: pa.Table) -> None:
        self._store = store
        self._inputs = inputs
        self._judge = judge
        self._search = inputs.sweep.search
        self._unadapted = judge.by_subject(no_adapt)

    def scores(self, trial: Trial) -> Scores:
        """Return objective and further objectives of a trained configuration."""
        replicates = tuple(self._objective(table) for table in self.predictions(trial.stored))
        further = {
            "cost": lambda: cost(trial.seeds[0], self._inputs.sweep.batch_size),
            "transfer_margin": lambda: self.transfer_margin(trial),
        }
        return Scores(
            values=(float(np.mean(replicates)), *(further[name]() for name in self._search.also)),
            replicates=replicates if len(replicates) > 1 else (),
        )

    def transfer_margin(self, trial: Trial) -> float:
        """Return the gain of the subject who gains least over no adaptation, mean over the seeds."""
        worst = []
        for predictions in self.predictions(trial.stored):
            adapted = self._judge.by_subject(predictions)
            worst.append(min(adapted[name] - self._unadapted[name] for name in adapted))
        return float(np.mean(worst))

    def of_part(self, trial: Trial, report: Mapping[str, Any]) -> float:
        """Return the objective of a trial under way: of the seeds that are trained, and of the one that trains."""
        n_done, part = divmod(int(report[N_PARTS]), PARTS_PER_FINETUNING)
        tables = list(self.predictions(trial.stored[:n_done]))
        if part:
            where = self._inputs.sweep_name, trial.stored[n_done], part
            tables.append(self._store.read_table(paths.part_predictions(*where)))
            self._store.delete_if_there(paths.part_predictions(*where))
        return float(np.mean([self._objective(table) for table in tables]))

    def predictions(self, stored: Sequence[str]) -> Iterator[pa.Table]:
        """Return predictions by the names that they are stored under."""
        for name in stored:
            yield self._store.read_table(paths.predictions(self._inputs.sweep_name, name))

    def _objective(self, predictions: pa.Table) -> float:
        return objective_value(self._inputs, self._judge, predictions)
