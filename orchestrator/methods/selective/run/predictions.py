"""The predictions of a trial as they are stored, one table for each configuration, and as those of its seeds."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.methods.selective.trial.configuration import OBJECTIVE, Trial
from orchestrator.methods.selective.trial.finetuning import TARGET_EMD
from orchestrator.store import paths
from orchestrator.store.store import Store


def stored_predictions(store: Store, sweep_name: str, names: Sequence[str]) -> Iterator[pa.Table]:
    """Return predictions by the names that they are stored under, each read when it is its turn."""
    for name in names:
        yield store.read_table(paths.predictions(sweep_name, name))


def by_seed(trial: Trial, predictions: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    """Return the predictions of each seed: one table, or one of each subject's model.

    Parameters
    ----------
    trial : Trial
    predictions : iterable of table
        Of its configurations in their order; of a trial under way, of the first of them.
    """
    pairs = zip(trial.configurations, predictions, strict=False)
    for _, of_seed in groupby(pairs, key=lambda pair: pair[0].seed):
        yield [table for _, table in of_seed]


def joined(predictions: Sequence[pa.Table]) -> pa.Table:
    """Return the predictions of one seed as one table, which has each test epoch once.

    Those of a single model are returned as they are. Of a model for each subject, they are what each says of its
    subject's epochs, in the order of the subjects, and the mean of the distances after finetuning, where these were
    noted. What each says of the objective's epochs is left out: all of them predict these.

    Parameters
    ----------
    predictions : sequence of table
        At least one.
    """
    if len(predictions) == 1:
        return predictions[0]
    own = [table.filter(pc.not_equal(_role_of(table), OBJECTIVE)) for table in predictions]
    table = pa.concat_tables([each.replace_schema_metadata(None) for each in own])
    noted = [each.schema.metadata or {} for each in predictions]
    if TARGET_EMD not in noted[0]:
        return table
    mean = float(np.mean([float(each[TARGET_EMD]) for each in noted]))
    return table.replace_schema_metadata({TARGET_EMD: repr(mean)})


def _role_of(predictions: pa.Table) -> pa.ChunkedArray:
    return pc.cast(predictions["role"], pa.string())
