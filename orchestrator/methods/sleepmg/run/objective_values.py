"""What the predictions of a cross-validation are worth, by the validation subjects of its folds."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from orchestrator.method import Scores
from orchestrator.methods.sleepmg.trial.cross_validation import Trial, fold_record
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import Judge


class ObjectiveValues:
    """Objectives of trained configurations.

    Parameters
    ----------
    store : Store
    inputs : CrossValidationInputs
    judge : Judge
        Of the objective.
    """

    def __init__(self, store: Store, inputs: CrossValidationInputs, judge: Judge) -> None:
        self._store = store
        self._inputs = inputs
        self._judge = judge

    def scores(self, trial: Trial) -> Scores:
        """Return the objective, mean over the seeds, and the further objectives of the search."""
        tables = self.predictions(trial)
        replicates = tuple(self._judge.evaluate(table).macro_f1 for table in tables)
        further = {"cost": self.cost, "worst_subject": self.worst_subject}
        search = self._inputs.sweep.search
        also = search.also if search else ()
        return Scores(
            values=(
                float(np.mean(replicates)),
                *(further[name](trial) for name in also),
            ),
            replicates=replicates if len(replicates) > 1 else (),
        )

    def worst_subject(self, trial: Trial) -> float:
        """Return the macro-F1 of the validation subject who fares worst, mean over the seeds."""
        tables = self.predictions(trial)
        return float(np.mean([min(self._judge.by_subject(table).values()) for table in tables]))

    def cost(self, trial: Trial) -> float:
        """Return how many epochs went through the network in all folds, mean over the seeds."""
        n_steps = [
            fold_record(self._store, self._inputs.fold_id(fold, trial.settings, seed))["n_steps"]
            for seed in trial.seeds
            for fold in self._inputs.folds
        ]
        return float(sum(n_steps) * trial.settings.training.batch_size / len(trial.seeds))

    def predictions(self, trial: Trial) -> Iterator[pa.Table]:
        """Return what a trained configuration predicts with each seed."""
        for name in trial.stored:
            yield self._store.read_table(paths.predictions(self._inputs.sweep.name, name))
