"""What the predictions of a cross-validation are worth, by the validation subjects of its folds."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.search import Scores
from orchestrator.sweep.sleepmg import trial
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs
from trainables.settings import SleepMGSettings


class Worth:
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

    def scores(self, settings: SleepMGSettings, seeds: Sequence[int]) -> Scores:
        """Return the objective, mean over the seeds, and the further objectives of the search."""
        tables = self.predictions(settings, seeds)
        replicates = tuple(self._judge.evaluate(table).macro_f1 for table in tables)
        further = {"cost": self.cost, "worst_subject": self.worst_subject}
        search = self._inputs.sweep.search
        also = search.also if search else ()
        return Scores(
            values=(
                float(np.mean(replicates)),
                *(further[name](settings, seeds) for name in also),
            ),
            replicates=replicates if len(replicates) > 1 else (),
        )

    def worst_subject(self, settings: SleepMGSettings, seeds: Sequence[int]) -> float:
        """Return the macro-F1 of the validation subject who fares worst, mean over the seeds."""
        tables = self.predictions(settings, seeds)
        return float(np.mean([min(self._judge.by_subject(table).values()) for table in tables]))

    def cost(self, settings: SleepMGSettings, seeds: Sequence[int]) -> float:
        """Return how many epochs went through the network in all folds, mean over the seeds."""
        n_steps = [
            trial.fold_record(self._store, self._inputs.fold_id(fold, settings, seed))["n_steps"]
            for seed in seeds
            for fold in self._inputs.folds
        ]
        return float(sum(n_steps) * settings.training.batch_size / len(seeds))

    def predictions(self, settings: SleepMGSettings, seeds: Sequence[int]) -> Iterator[pa.Table]:
        """Return what a trained configuration predicts with each seed."""
        for seed in seeds:
            name = trial.signature(self._inputs, settings, seed)
            yield self._store.read_table(paths.predictions(self._inputs.sweep.name, name))
