"""The process of the caller after a call: its environment, its random numbers, and how its PyTorch computes."""

import os
import random

import numpy as np
import pytest
import torch

import orchestrator as so
from orchestrator.api.caller import undisturbed_chance, undisturbed_environment
from orchestrator.errors import ConfigError
from orchestrator.telemetry.session import prepare_ray_environment
from trainables.seeding import seed_everything


def test_variables_are_given_back_but_for_those_that_ray_has_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("TUNE_X", "as it was")
    with undisturbed_environment():
        prepare_ray_environment()
        assert os.environ["OMP_NUM_THREADS"] == "1"
        os.environ["TUNE_X"] = "other"
        del os.environ["MKL_NUM_THREADS"]
        monkeypatch.setenv("RAY_NEW", "1")
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "4"
    assert os.environ["TUNE_X"] == "as it was"
    assert os.environ["RAY_NEW"] == "1"


def test_chance_goes_on_where_it_was() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(0)
    try:
        random.seed(7), np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
        wanted = drawn()
        random.seed(7), np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
        with undisturbed_chance():
            seed_everything(1)
            drawn()
            assert torch.get_deterministic_debug_mode() == 2
        assert drawn() == wanted
        assert torch.get_deterministic_debug_mode() == 0
    finally:
        torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize("n_cpus", [0, -1])
def test_a_number_of_cpus_that_is_none(n_cpus: int, tmp_path: "os.PathLike[str]") -> None:
    dataset = {
        "name": "x",
        "title": "x",
        "licence": "none",
        "recordings": [{"files": "*.edf", "subject": ".*", "stages": "none"}],
        "montage": "basic",
    }
    with pytest.raises(ConfigError, match=f"n_cpus is {n_cpus}; allowed: 1 or more"):
        so.ingest(dataset, str(tmp_path), store=str(tmp_path), n_cpus=n_cpus)
