"""The loss of stage classifiers: weighted cross-entropy over the stages that count, and AttnSleep's weights.

A stage has weight 0 where it is not declared or absent from the training epochs: it is masked from the loss and its
epochs contribute nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainables.errors import EpochsError, SettingsError
from trainables.stages import UNSCORED, Stage
from trainables.workers import Workers

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]

# AttnSleep's "mu": how much a stage counts before its frequency does, for W, N1, N2, N3, REM.
_IMPORTANCE = np.array([1.5, 2.0, 1.5, 1.0, 1.5]) / len(Stage)


def class_weights(stages: IntArray, declared: Sequence[Stage]) -> FloatArray:
    """Weigh each stage by its importance and its rarity, as AttnSleep does.

    ``weight_k = mu_k * max(1, log(mu_k * N / N_k))``, rounded to two decimals, with
    ``mu = (1.5, 2, 1.5, 1, 1.5) / 5`` for W, N1, N2, N3, REM.

    Parameters
    ----------
    stages : (n_epochs,)
        Stage values of the training epochs, -1 for unscored. Unlike in AttnSleep's code, held-out
        epochs have no business here.
    declared : sequence of Stage
        Stages that count.

    Returns
    -------
    (5,) float32
        0 for a stage that is absent or not declared.

    Raises
    ------
    EpochsError
        A value is not a stage.
    SettingsError
        ``declared`` is empty or names a stage twice.

    Notes
    -----
    Reconstruction: AttnSleep always has five stages. With fewer, N counts the declared epochs only,
    and mu stays.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), [Stage.W, Stage.N1]).tolist()
    [0.30000001192092896, 0.550000011920929, 0.0, 0.0, 0.0]
    """
    check_stages("training", stages)
    check_declared(declared)
    counts = np.zeros(len(Stage))
    for stage in declared:
        counts[stage] = np.count_nonzero(stages == stage)
    present = counts > 0
    weights = np.zeros(len(Stage), dtype=np.float32)
    rarity = np.log(_IMPORTANCE[present] * counts.sum() / counts[present])
    weights[present] = np.round(_IMPORTANCE[present] * np.maximum(1.0, rarity), 2)
    return weights


def stage_loss(
    logits: Tensor, stages: Tensor, weights: Tensor, workers: Workers | None = None
) -> Tensor:
    """Weighted cross-entropy over the stages of positive weight.

    Parameters
    ----------
    logits : (b, 5)
    stages : (b,) int64
        Stage values, -1 for unscored.
    weights : (5,)
        0 for a stage to ignore: its logit is masked, and its epochs contribute nothing.
    workers : Workers, optional
        Of which each has a part of the batch: the mean is over all of it.

    Returns
    -------
    scalar Tensor
        Mean over the epochs that count, each weighing as its stage does; 0, with zero gradient,
        where none does. With several workers, this one's part times their number: gradients are averaged over them.
    """
    counted = (stages >= 0) & (weights[stages.clamp_min(0)] > 0)
    stages = stages[counted]
    total = functional.cross_entropy(
        logits[counted].masked_fill(weights == 0, -torch.inf),
        stages,
        weight=weights,
        reduction="sum",
    )
    workers = workers or Workers()
    of_all = workers.sum(weights[stages].sum())
    # The floor is for the empty sum, which must give 0 and not 0 / 0.
    return workers.n * total / of_all.clamp_min(torch.finfo(weights.dtype).tiny)


def weight_of_each(stages: IntArray, weights: FloatArray) -> FloatArray:
    """Look up the weight of each epoch; 0 where it is unscored."""
    weight: FloatArray = np.where(stages == UNSCORED, np.float32(0), weights[stages])
    return weight


def restrict_weights(class_weights: FloatArray, declared: Sequence[Stage]) -> FloatArray:
    """Check weights that came from outside, and set those of undeclared stages to 0."""
    check_declared(declared)
    weights = np.asarray(class_weights, dtype=np.float32)
    if weights.shape != (len(Stage),) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise SettingsError(
            f"class_weights are {weights.tolist()}; "
            f"allowed: {len(Stage)} finite numbers, none negative."
        )
    restricted = np.zeros_like(weights)
    restricted[list(declared)] = weights[list(declared)]
    return restricted


def check_declared(declared: Sequence[Stage]) -> None:
    """Raise SettingsError unless one or more stages are named, each once."""
    valid = set(Stage)
    if not declared or len(set(declared)) < len(declared) or not set(declared) <= valid:
        raise SettingsError(
            f"declared stages are {[int(stage) for stage in declared]}; allowed: one or more of "
            f"{', '.join(f'{stage.value} ({stage.name})' for stage in Stage)}, each once."
        )


def check_stages(name: str, stages: IntArray) -> None:
    """Raise EpochsError unless all values are stages or unscored."""
    outside = stages[(stages < UNSCORED) | (stages >= len(Stage))]
    if outside.size:
        raise EpochsError(
            f"the {name} epochs hold stage {outside.flat[0]}; allowed: 0 to {len(Stage) - 1}, "
            f"or {UNSCORED} for unscored."
        )
