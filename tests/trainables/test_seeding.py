import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from trainables.errors import SettingsError
from trainables.seeding import MAX_SEED, seed_everything


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


def test_same_seed_same_draws_in_all_three_generators() -> None:
    seed_everything(3)
    first = draws()
    seed_everything(3)
    assert draws() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_only_deterministic_kernels_are_allowed() -> None:
    torch.use_deterministic_algorithms(False)
    seed_everything(0)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, True])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match="seed is"):
        seed_everything(seed)


def test_largest_seed_is_accepted() -> None:
    seed_everything(MAX_SEED)


@pytest.mark.heavy
@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="no MKL in this PyTorch")  # type: ignore[no-untyped-call]
def test_mkl_sums_in_the_same_order_from_run_to_run() -> None:
    code = "import trainables.inference, torch; torch.ones(16, 240) @ torch.ones(240, 5)"
    environment = {k: v for k, v in os.environ.items() if k != "MKL_CBWR"} | {"MKL_VERBOSE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert "SGEMM" in said.stdout
    assert "CNR:AUTO" in said.stdout
