"""Made-up hypnograms: a semi-Markov chain whose transitions follow the sleep cycle and the night.

What is textbook (Carskadon & Dement, Normal human sleep, in Principles and Practice of Sleep Medicine; AASM
manual): sleep begins from W by way of N1; NREM and REM alternate in cycles of about 90 minutes; N3 lies in the
first cycles and REM periods grow towards morning; N1 bouts are short; brief awakenings interrupt sleep. The
numbers below are ours, chosen to give plausible nights, and are no model of any population.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.psg.hypnogram import EPOCH_S
from trainables.stages import Stage

W, N1, N2, N3, REM = Stage

_CYCLE_EPOCHS = 90 * 60 // EPOCH_S
_FEWEST_CYCLES = 2  # else a short night would end before its first REM period

_LATENCY_EPOCHS = 22.0
_BOUT_EPOCHS = {W: 2.5, N1: 3.0, N2: 14.0, N3: 24.0, REM: 24.0}
_BOUT_SHAPE = 3.0  # of a gamma distribution: neither memoryless nor regular

_REM_SHARE = (0.20, 0.38)
"""Part of a cycle that its REM period may take, at the start and at the end of the night."""
_N3_CHANCE = (0.95, 0.15)
"""Of N2 to deepen into N3, at the start and at the end of the night."""

_SMALLEST_SHARE = 0.04
_SHORTEST_COMPLETE = 60
"""Epochs; half an hour. A shorter stretch need not hold every stage."""


def draw_stages(rng: np.random.Generator, n_epochs: int) -> NDArray[np.int8]:
    """Draw the stages of one recording.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_epochs : int
        Of 30 s, at least 1. Less than three hours are two cycles, so shorter than natural ones, and bouts
        shrink with them. From 60 epochs on, each of the five stages takes at least 4 % of the recording:
        a night that lacks one is drawn again.

    Returns
    -------
    (n_epochs,) int8
        W N1 N2 N3 REM = 0..4; the first is W.
    """
    while True:
        stages = _draw_night(rng, n_epochs)
        shares = np.bincount(stages, minlength=len(Stage)) / n_epochs
        if n_epochs < _SHORTEST_COMPLETE or shares.min() >= _SMALLEST_SHARE:
            return stages


def _draw_night(rng: np.random.Generator, n_epochs: int) -> NDArray[np.int8]:
    n_cycles = max(_FEWEST_CYCLES, round(n_epochs / _CYCLE_EPOCHS))
    cycle = n_epochs / n_cycles
    pace = cycle / _CYCLE_EPOCHS
    stages = np.empty(n_epochs, np.int8)
    stage, start = W, 0
    stop = _duration(rng, _LATENCY_EPOCHS * pace)
    while True:
        stages[start:stop] = stage
        if stop >= n_epochs:
            return stages
        start = stop
        night, phase = start / n_epochs, start / cycle % 1
        rem_from = 1 - np.interp(night, (0, 1), _REM_SHARE)
        chances = (
            _towards_rem(stage)
            if phase >= rem_from
            else _through_nrem(stage, float(np.interp(night, (0, 1), _N3_CHANCE)))
        )
        stage = Stage(rng.choice(list(chances), p=list(chances.values())))
        # A bout ends where its half of the cycle does, so that each cycle has both halves.
        half_left = ((1.0 if phase >= rem_from else rem_from) - phase) * cycle
        stop = start + min(_duration(rng, _BOUT_EPOCHS[stage] * pace), max(1, round(half_left)))


def _duration(rng: np.random.Generator, mean_epochs: float) -> int:
    return max(1, round(rng.gamma(_BOUT_SHAPE, mean_epochs / _BOUT_SHAPE)))


def _through_nrem(stage: Stage, n3_chance: float) -> dict[Stage, float]:
    """Where a bout of the NREM half leads, with probabilities."""
    rest = 1 - n3_chance
    return {
        W: {N1: 1.0},
        N1: {N2: 0.85, W: 0.15},
        N2: {N3: n3_chance, N1: 0.65 * rest, W: 0.35 * rest},
        N3: {N2: 0.7, N1: 0.15, W: 0.15},
        REM: {N1: 0.5, N2: 0.3, W: 0.2},
    }[stage]


def _towards_rem(stage: Stage) -> dict[Stage, float]:
    """Where a bout of the REM half leads, with probabilities."""
    return {
        W: {N1: 1.0},
        N1: {REM: 0.75, N2: 0.25},
        N2: {REM: 0.85, N1: 0.15},
        N3: {N2: 0.8, N1: 0.2},
        REM: {N1: 0.5, N2: 0.25, W: 0.25},
    }[stage]
