"""What the predictions of a trial are worth to the search: by the stages that choose among trials, or without any."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.method import Scores
from orchestrator.methods.selective.run.predictions import by_seed, joined, stored_predictions
from orchestrator.methods.selective.run.tables import cost
from orchestrator.methods.selective.trial.configuration import Trial, TrialInputs
from orchestrator.methods.selective.trial.finetuning import (
    PARTS_PER_FINETUNING,
    TARGET_EMD,
    part_name,
)
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import Judge, certainty, information, probabilities_of
from orchestrator.sweeps.reports import N_PARTS
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


def objective_value(
    inputs: TrialInputs, judge: Judge, trial: Trial, predictions: Iterable[pa.Table]
) -> float:
    """Return what the predictions of a trial are worth to the search: the value that it maximises.

    Parameters
    ----------
    inputs : TrialInputs
    judge : Judge
        Of the objective.
    trial : Trial
    predictions : iterable of table
        Of its configurations in their order; of a trial under way, of the first of them.
    """
    values = [of_seed(inputs, judge, tables) for tables in by_seed(trial, predictions)]
    return float(np.mean(values))


def of_seed(inputs: TrialInputs, judge: Judge, predictions: Sequence[pa.Table]) -> float:
    """Return the objective of one seed.

    Without labels it is computed from what is said of the target, by a model for each subject or by one for all. With
    labels it is the mean over these models, all of which predict the objective's epochs.
    """
    value = WITHOUT_LABELS.get(inputs.sweep.search.objective)
    if value is not None:
        return value(joined(predictions), inputs.unlabelled_role, inputs.sweep.stages)
    return float(np.mean([judge.evaluate(table).macro_f1 for table in predictions]))


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
        replicates = tuple(
            of_seed(self._inputs, self._judge, tables) for tables in self._by_seed(trial)
        )
        further = {
            "cost": lambda: cost(trial, self._inputs.sweep.batch_size),
            "transfer_margin": lambda: self.transfer_margin(trial),
        }
        return Scores(
            values=(float(np.mean(replicates)), *(further[name]() for name in self._search.also)),
            replicates=replicates if len(replicates) > 1 else (),
        )

    def transfer_margin(self, trial: Trial) -> float:
        """Return the gain over no adaptation of the subject who gains least, mean over the seeds.

        Where each target subject has a model, it is the mean over these models, too.
        """
        worst = [
            float(np.mean([self._least_gain(table) for table in tables]))
            for tables in self._by_seed(trial)
        ]
        return float(np.mean(worst))

    def of_part(self, trial: Trial, report: Mapping[str, Any]) -> float:
        """Return the objective of a trial under way: of the seeds that are trained, and of the one that trains.

        Where each target subject has a model, the last seed counts with the subjects whose models are trained, and
        with the one that trains: at the same report, trials are compared by the same subjects.
        """
        n_done, part = divmod(int(report[N_PARTS]), PARTS_PER_FINETUNING)
        tables = list(self._stored(trial.stored[:n_done]))
        if part:
            name = part_name(trial.signature, trial.stored[n_done])
            where = self._inputs.sweep_name, name, part
            tables.append(self._store.read_table(paths.part_predictions(*where)))
            self._store.delete_if_there(paths.part_predictions(*where))
        return objective_value(self._inputs, self._judge, trial, tables)

    def predictions(self, trial: Trial) -> Iterator[pa.Table]:
        """Return the predictions of each seed, those of its subjects' models joined."""
        for tables in self._by_seed(trial):
            yield joined(tables)

    def _by_seed(self, trial: Trial) -> Iterator[list[pa.Table]]:
        return by_seed(trial, self._stored(trial.stored))

    def _stored(self, names: Sequence[str]) -> Iterator[pa.Table]:
        return stored_predictions(self._store, self._inputs.sweep_name, names)

    def _least_gain(self, predictions: pa.Table) -> float:
        adapted = self._judge.by_subject(predictions)
        return min(adapted[name] - self._unadapted[name] for name in adapted)
