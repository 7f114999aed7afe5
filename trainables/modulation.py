"""Per-modality balance: scores of the modalities -> ratios -> coefficients -> scaled gradients or updates.

OGM-GE (Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022) defines it for one
head and two modalities. Reconstruction: SleepMG's own equations could not be obtained; here are those of OGM-GE, for
any number of modalities, and for the classifier, the discriminator or the extractors alike.

Shapes: B epochs, M modalities, S outputs of a head.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from trainables.errors import SettingsError
from trainables.models.fusion import Block

EPSILON: Final = 1e-5
"""Scores below count as this much (BalanceBenchmark), so that a ratio stays finite."""

NOISE_FLOOR: Final = 1e-8
"""Added to the standard deviation of the noise (OGM-GE)."""

STARVED_BELOW: Final = 0.5
"""A step in which a modality's coefficient is below holds it back."""

STARVED_SHARE: Final = 0.9
"""A modality that is held back in a larger share of the steps is starved."""

RATIO_RULES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    # Issue 16 of OGM-GE's repository; OGM_GE3 of BalanceBenchmark.
    "mean_pairwise": lambda pairs_MM: pairs_MM.nanmean(dim=1),
    # S^u / mean_v S^v, written so that equal scores give exactly 1.
    "mean_others": lambda pairs_MM: 1 / pairs_MM.T.nanmean(dim=1),
}
"""From pairs (M, M) to ratios (M,), by the names of :data:`trainables.settings.RATIOS`.

A pair is the score of the row's modality over that of the column's; NaN on the diagonal and where one has no score.
"""

RULES: Final[Mapping[str, Callable[[Tensor, float], Tensor]]] = {
    # OGM-GE, equation 10. A modality that leads by ever so little loses tanh(alpha).
    "published": lambda ratios_M, alpha: 1 - (alpha * ratios_M).tanh(),
    "continuous": lambda ratios_M, alpha: 1 - (alpha * (ratios_M - 1)).tanh(),
}
"""From ratios above 1 and alpha to coefficients, by the names of :data:`trainables.settings.COEFFICIENT_RULES`."""


@torch.no_grad()
def score_sums(
    logits_MBS: Tensor, labels_B: Tensor, present_BM: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what the modalities' scores are the means of: both can be added over batches and workers.

    Parameters
    ----------
    logits_MBS : (M, B, S)
        What each modality says alone, see :meth:`trainables.models.fusion.FusionHead.modality_logits`.
    labels_B : (B,) int
        Stages or domains; epochs with -1 are left out.
    present_BM : (B, M) bool, optional
        Which modalities an epoch has; all of them without.

    Returns
    -------
    sums : (M,) float64
        Softmax probability of the true label, summed over the epochs that have the modality.
    counts : (M,) float64
        Number of these epochs.
    """
    labelled_MB = (labels_B >= 0).expand(len(logits_MBS), -1)
    counted_MB = labelled_MB if present_BM is None else labelled_MB & present_BM.T
    index_MB1 = labels_B.clamp(min=0).expand_as(labelled_MB).unsqueeze(2)
    true_MB = logits_MBS.double().softmax(dim=2).gather(2, index_MB1).squeeze(2)
    return true_MB.masked_fill(~counted_MB, 0.0).sum(dim=1), counted_MB.double().sum(dim=1)


def scores(sums_M: Tensor, counts_M: Tensor) -> Tensor:
    """Return the mean probability of the true label, (M,); NaN for a modality that no epoch has."""
    return sums_M / counts_M


def ratios(scores_M: Tensor, ratio: str = "mean_pairwise") -> Tensor:
    """Return how far each modality is ahead of the others.

    Parameters
    ----------
    scores_M : (M,)
        At least 0; NaN for a modality that is missing, which nobody is compared to.
    ratio : str
        One of ``RATIO_RULES``.

    Returns
    -------
    (M,)
        Rho: 1 for equal scores or without others, above 1 for a modality that leads, NaN where the score is.

    Raises
    ------
    SettingsError
        There is no such ratio.

    Examples
    --------
    >>> ratios(torch.tensor([0.8, 0.4, 0.4, 0.4]))
    tensor([2.0000, 0.8333, 0.8333, 0.8333])
    """
    if ratio not in RATIO_RULES:
        raise SettingsError(f"ratio is {ratio!r}; allowed: {', '.join(RATIO_RULES)}.")
    scores_M = scores_M.clamp(min=EPSILON)
    pairs_MM = scores_M[:, None] / scores_M[None, :]
    pairs_MM.fill_diagonal_(math.nan)
    alone_M = pairs_MM.isnan().all(dim=1) & ~scores_M.isnan()
    return RATIO_RULES[ratio](pairs_MM).masked_fill(alone_M, 1.0)


def coefficients(
    scores: Tensor,
    alpha: float,
    ratio: str = "mean_pairwise",
    rule: str = "published",
    invert: bool = False,
) -> Tensor:
    """Return how much of its gradient or update each modality keeps.

    Parameters
    ----------
    scores : (M,)
        At least 0; NaN for a modality that is missing.
    alpha : float
        Strength, at least 0; 0 slows nothing down.
    ratio : str
        One of ``RATIO_RULES``.
    rule : str
        One of ``RULES``.
    invert : bool
        Slow the modalities that lag, by the inverse of their ratios.

    Returns
    -------
    (M,)
        k, from 0 to 1: below 1 for a modality that leads, exactly 1 for the others and for those without a score.

    Raises
    ------
    SettingsError
        Alpha is negative or not finite, or there is no such ratio or rule.

    Examples
    --------
    >>> coefficients(torch.tensor([0.8, 0.4, 0.4, 0.4]), alpha=0.1)
    tensor([0.8026, 1.0000, 1.0000, 1.0000])
    """
    if not 0 <= alpha < math.inf:
        raise SettingsError(f"alpha is {alpha!r}; allowed: a finite number of at least 0.")
    if rule not in RULES:
        raise SettingsError(f"rule is {rule!r}; allowed: {', '.join(RULES)}.")
    ratios_M = ratios(scores, ratio)
    if invert:
        ratios_M = 1 / ratios_M
    slowed_M = RULES[rule](ratios_M, alpha)
    return torch.where(ratios_M > 1, slowed_M, torch.ones_like(slowed_M))


@torch.no_grad()
def scale_gradients(blocks: Sequence[Sequence[Block]], k_M: Sequence[float]) -> None:
    """Multiply the gradients of each modality's blocks by its coefficient, in place; those without are skipped."""
    for blocks_u, k in zip(blocks, k_M, strict=True):
        for block in blocks_u:
            if block.parameter.grad is not None:
                block.of(block.parameter.grad).mul_(k)


Snapshot = list[list[Tensor]]
"""A tensor for each block of each modality."""


@torch.no_grad()
def snapshot(blocks: Sequence[Sequence[Block]]) -> Snapshot:
    """Return copies of the weights, to be taken before an optimiser's step."""
    return [[block.of(block.parameter).clone() for block in blocks_u] for blocks_u in blocks]


@torch.no_grad()
def scale_update(blocks: Sequence[Sequence[Block]], before: Snapshot, k_M: Sequence[float]) -> None:
    """Keep the share k of what a step changed: weights = before + k * (now - before), in place.

    Whatever the optimiser, this is the block's learning rate times k for this step. With k = 1 the weights stay as they
    are and with k = 0 they are those of `before`, to the last bit.
    """
    for blocks_u, before_u, k in zip(blocks, before, k_M, strict=True):
        for block, old in zip(blocks_u, before_u, strict=True):
            now = block.of(block.parameter)
            now.copy_(torch.lerp(old, now, k))  # exact at both ends


@torch.no_grad()
def gradient_spreads(blocks: Sequence[Sequence[Block]]) -> list[list[Tensor | None]]:
    """Return the standard deviation of each block's gradient, to be taken before `scale_gradients`.

    None for vectors (biases, batch-norm), which get no noise, and for blocks without a gradient.
    """
    return [[_spread(block) for block in blocks_u] for blocks_u in blocks]


@torch.no_grad()
def add_noise(
    blocks: Sequence[Sequence[Block]],
    spreads: Sequence[Sequence[Tensor | None]],
    generator: torch.Generator | None = None,
) -> None:
    """Add Gaussian noise to the gradients of all modalities, whatever their coefficients, in place.

    The GE of OGM-GE: noise with zero mean and with the spread of the unscaled gradient.

    Parameters
    ----------
    blocks : sequence of sequences of Block
        Of each modality.
    spreads : sequence of sequences
        What `gradient_spreads` gave before the gradients were scaled.
    generator : Generator, optional
        On the device of the weights; torch's own without. Workers that train one model have to draw the same.
    """
    for blocks_u, spreads_u in zip(blocks, spreads, strict=True):
        for block, spread in zip(blocks_u, spreads_u, strict=True):
            if spread is None or block.parameter.grad is None:
                continue
            gradient = block.of(block.parameter.grad)
            noise = torch.randn(
                gradient.shape, generator=generator, dtype=gradient.dtype, device=gradient.device
            )
            gradient.add_(noise * (spread + NOISE_FLOOR))


def starved(k_NM: Tensor) -> Tensor:
    """Return which modalities were held back in nearly all steps.

    Parameters
    ----------
    k_NM : (n_steps, M)
        Coefficients of each step, as of one pass; NaN, where nothing was modulated, holds nothing back.

    Returns
    -------
    (M,) bool
        Whether more than ``STARVED_SHARE`` of the coefficients are below ``STARVED_BELOW``; False without steps.
        Reconstruction: both limits are ours.
    """
    return (k_NM < STARVED_BELOW).sum(dim=0) > STARVED_SHARE * len(k_NM)


def _spread(block: Block) -> Tensor | None:
    if block.parameter.grad is None or block.parameter.ndim < 2:
        return None
    gradient = block.of(block.parameter.grad)
    return gradient.std(correction=min(1, gradient.numel() - 1))  # one value alone has no spread
