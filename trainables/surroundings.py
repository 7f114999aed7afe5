"""What a training and its surroundings tell each other between two steps."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainables.workers import Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """How a training is doing."""

    loss: float
    """Mean over the steps since the last pulse."""

    steps_per_s: float
    """Since then; validation and checkpoints count as time."""

    waited: float
    """Share of that time spent waiting for batches, 0 to 1. A GPU may still be at work on the step before."""

    n_steps: int
    """Taken in all."""

    n_steps_before: int
    """Of these, what an earlier process had taken and saved: this one began there."""

    details: Mapping[str, float] = field(default_factory=dict)
    """What the step had to say about the last whole pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Who watches a training, and who may ask it to leave; nobody by default."""

    pulse: Callable[[Pulse], None] | None = None
    """Called now and then, after a step."""

    every_s: float = 5.0
    """At least so long apart; the first one after so long."""

    must_leave: Callable[[], bool] | None = None
    """Asked after each step, of several workers by those that have it. Once it says yes, the training saves itself and
    raises `LeaveError`."""


@dataclass(slots=True)
class Watch:
    """The surroundings of one training, between whose pulses time passes."""

    surroundings: Surroundings
    n_steps_before: int = 0
    """Taken before this process."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Of the last whole pass."""
    _since_s: float = field(default_factory=time.perf_counter)
    _waited_s: float = 0.0
    _n_steps: int = 0
    _n_told: int = 0
    _losses: float = 0.0

    def step(self, loss: float, waited_s: float) -> None:
        """Note a step, and give a pulse if it is time.

        Parameters
        ----------
        loss : float
        waited_s : float
            Since the training began, in seconds.
        """
        around = self.surroundings
        if around.pulse is None:
            return
        self._n_steps += 1
        self._losses += loss
        now = time.perf_counter()
        passed = now - self._since_s
        if passed < around.every_s:
            return
        n_new = self._n_steps - self._n_told
        around.pulse(
            Pulse(
                loss=self._losses / n_new,
                steps_per_s=n_new / passed,
                n_steps=self.n_steps_before + self._n_steps,
                n_steps_before=self.n_steps_before,
                waited=min(1.0, (waited_s - self._waited_s) / passed),
                details=self.details,
            )
        )
        self._since_s, self._waited_s, self._losses = now, waited_s, 0.0
        self._n_told = self._n_steps

    def must_leave(self, workers: Workers) -> bool:
        """Tell whether this training is to leave; of several workers, all leave where one has to."""
        asked = self.surroundings.must_leave
        # Every worker takes part, also one on a machine that stays.
        return workers.any(asked is not None and asked())
