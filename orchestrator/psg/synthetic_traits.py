"""Who a made-up subject is: the traits in which one recording differs from another in the same stage.

A domain shift moves all of them together, along one axis: smaller signals, a flatter 1/f, slower alpha, more noise,
less contrast between stages. It is the direction of old age (alpha: Klimesch, Brain Res Rev 29, 1999; slow waves:
Carrier, Psychophysiology 38, 2001; 1/f: Voytek et al., J Neurosci 35, 2015) seen with worse equipment. Subjects of one
domain are spread over the same axis besides their individual deviations, so some of them lie nearer to another domain
than the rest.
"""

from dataclasses import dataclass

import numpy as np

POSITION_SPREAD = 0.6
"""Subjects lie at most so far from the shift of their domain, times the spread."""
_GOLDEN = (5**0.5 - 1) / 2

_PURPOSES = ("traits", "stages", "signals", "channels")  # each has its own stream of random numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What distinguishes one made-up subject's recording from another's, in the same stage.

    Each is its population mean, moved by the subject's `position`, times or plus an individual deviation.
    """

    position: float
    """Place on the axis of the domain shift: the shift, give or take 0.6 times the spread. The others follow it."""
    gain: float
    """Of all channels, as a factor: 1 at position 0, 0.67 at 1."""
    slope: float
    """Exponent b of the EEG background's power, 1/f^b: 1.8 at position 0, 1.2 at 1."""
    alpha_hz: float
    """Alpha frequency: 10.2 at position 0, 8.6 at 1."""
    noise_uv: float
    """Root mean square of the electrodes' white noise in every channel: 2 at position 0, 4 at 1."""
    contrast: float
    """How far stages lie apart, as the exponent of their amplitude ratios: 1 at position 0, 0.8 at 1."""
    spread: float
    """Factor on the subject's deviations: on those above, and on those drawn with the signals, such as heart rate."""


def draw_traits(seed: int, number: int, shift: float, spread: float = 1.0) -> Traits:
    """Draw the traits of one subject.

    Parameters
    ----------
    seed, number : int
        Which population, and which of its subjects; both at least 0. How many subjects are used does not matter.
    shift : float
        Of the domain. It is no part of the seed: the same subject in a shifted domain differs by the shift alone.
    spread : float
        Factor on all deviations from the population: at 0 all subjects are the same, at 2 they differ twice as much.
    """
    # Spread by the golden ratio, not at random: any few subjects in a row already cover the whole width.
    place = (stream(seed, 0, "traits").random() + number * _GOLDEN) % 1
    position = shift + spread * POSITION_SPREAD * (2 * place - 1)
    deviation = spread * stream(seed, number, "traits").standard_normal(5)
    return Traits(
        position=position,
        gain=float(np.exp(-0.4 * position + 0.15 * deviation[0])),
        slope=float(1.8 - 0.6 * position + 0.12 * deviation[1]),
        alpha_hz=float(10.2 - 1.6 * position + 0.3 * deviation[2]),
        noise_uv=float(2.0 * np.exp(0.7 * position + 0.15 * deviation[3])),
        contrast=float(np.exp(-0.22 * position + 0.06 * deviation[4])),
        spread=spread,
    )


def stream(seed: int, number: int, purpose: str, *which: int) -> np.random.Generator:
    """Return random numbers for one purpose of one subject, the same whatever else is drawn."""
    return np.random.default_rng((seed, number, _PURPOSES.index(purpose), *which))
