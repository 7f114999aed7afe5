"""What a trial's process imports, and what it tells."""

import json
import subprocess
import sys

import pytest

from orchestrator.config.methods import METHODS, room


@pytest.mark.heavy
def test_a_trial_imports_nothing_of_the_search() -> None:
    modules = [room(method, "run").METHOD.trainer.train.__module__ for method in METHODS]
    code = (
        "import importlib, json, sys, orchestrator.sweeps.remote\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "heavy = ('optuna', 'ray.tune', 'scipy.stats', 'matplotlib', 'mne', 'boto3', 'pandas')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert json.loads(done.stdout) == []
