"""What a trial's process imports, and what it tells."""

import json
import subprocess
import sys

import pytest

from orchestrator.method import METHODS


@pytest.mark.heavy
def test_a_trial_imports_nothing_of_the_search() -> None:
    code = (
        "import importlib, json, sys, orchestrator.sweep.remote\n"
        f"for method in {list(METHODS)!r}: importlib.import_module(f'orchestrator.sweep.{{method}}.trial')\n"
        "heavy = ('optuna', 'ray.tune', 'scipy.stats', 'matplotlib', 'mne', 'boto3', 'pandas')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert json.loads(done.stdout) == []
