"""How far source and target lie apart under a finetuned encoder: the objective ``target_emd``, without any label.

A reconstruction of ours: that the EMD after finetuning be small does not say between what. Here it is that of two
clouds of epochs, those that a tau may choose from and those of the target that are tested on, whatever was kept.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.emd import Metric, emd
from trainables import inference
from trainables.models.mrcnn import StageClassifier

MAX_EPOCHS = 512
"""Of each side, evenly spaced: enough for a distance, and a second of work."""


def target_emd(
    model: StageClassifier,
    source_x: NDArray[np.float32],
    target_x: NDArray[np.float32],
    layer: str,
    metric: Metric,
) -> float:
    """Return the exact EMD of source to target epochs, each feature in units of its spread over the source.

    So an encoder that shrinks all features gains nothing. A feature without spread is left as it is.

    Parameters
    ----------
    model : StageClassifier
        Finetuned; not changed.
    source_x, target_x : (n_source_epochs, n_channels, 3000), (n_target_epochs, n_channels, 3000)
        Of each, at most `MAX_EPOCHS` evenly spaced ones are taken.
    layer, metric : str
        Of the features, and of the ground cost: those of the scores.

    Raises
    ------
    DivergedError
        A feature is not finite.
    SolverError
        The network simplex did not converge.
    """
    source, target = (
        inference.encode(model, x[evenly_spaced(len(x))], layer).astype(np.float64)
        for x in (source_x, target_x)
    )
    center, spread = source.mean(axis=0), source.std(axis=0)
    spread[spread < 1e-6 * max(float(spread.max()), 1e-30)] = 1.0
    return emd((source - center) / spread, (target - center) / spread, metric)


def evenly_spaced(n: int) -> NDArray[np.intp]:
    """Return at most `MAX_EPOCHS` positions among `n`, ascending, from the first to the last.

    Examples
    --------
    >>> evenly_spaced(3)
    array([0, 1, 2])
    """
    return np.unique(np.linspace(0, n - 1, min(n, MAX_EPOCHS)).round().astype(np.intp))
