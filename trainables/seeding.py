"""One seed for every source of chance in a process."""

import os
import random

import numpy as np
import torch

from trainables.errors import SettingsError

MAX_SEED = 2**32 - 1
"""Largest seed that all three generators accept; NumPy's is the narrowest."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and allow deterministic kernels only.

    On a CPU the same seed then gives the same weights to the last bit, as long as the number of
    threads is the same too: more threads sum in another order.

    Parameters
    ----------
    seed : int
        From 0 to ``MAX_SEED``.

    Raises
    ------
    SettingsError
        The seed is outside that range.
    """
    if isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"seed is {seed!r}; allowed: an integer from 0 to {MAX_SEED}.")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries still draw from the global generator
    torch.manual_seed(seed)
    # As use_deterministic_algorithms(True), which would import torch's compiler besides: a third of a second.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    # cuBLAS is deterministic only with a fixed workspace, and reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
