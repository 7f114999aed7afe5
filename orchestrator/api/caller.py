"""The process of whoever calls: it goes on after a call, unlike that of a command."""

import contextlib
import os
import random
from collections.abc import Iterator

from orchestrator.errors import ConfigError

_OF_RAY = "RAY_"
"""Begin of variables that stay as they were set: Ray has read some of them, and reads them only once."""


@contextlib.contextmanager
def undisturbed_environment() -> Iterator[None]:
    """Give the environment variables back as they were, but for those of Ray."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in [name for name in os.environ if not name.startswith(_OF_RAY)]:
            if name not in before:
                del os.environ[name]
        os.environ.update({k: v for k, v in before.items() if not k.startswith(_OF_RAY)})


@contextlib.contextmanager
def undisturbed_chance() -> Iterator[None]:
    """Give the generators of random numbers back as they were, and let PyTorch compute as it did before."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    generator, mode = torch.get_rng_state(), torch.get_deterministic_debug_mode()
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(generator)
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark


def check_cpus(n_cpus: int | None) -> None:
    """Refuse a number of CPUs that is none.

    Raises
    ------
    ConfigError
    """
    if n_cpus is not None and n_cpus < 1:
        raise ConfigError(
            f"n_cpus is {n_cpus}; allowed: 1 or more, or None for all that this process may use."
        )
