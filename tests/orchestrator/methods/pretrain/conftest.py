"""A sweep file of pretrainings over the made-up nights of the package above."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.config.sweep import load_sweep
from orchestrator.methods.pretrain.config import PretrainSweep

MakePretrain = Callable[..., PretrainSweep]

SWEEP = """\
name: probe
method: pretrain
{more}
source:
  dataset: {source}
  exclude: {exclude}
  validation: {validation}
pretrain: {{n_passes: 2, batch_size: 16}}
search:
  n_trials: 3
  space: {{learning_rate: {{log_uniform: [1e-4, 1e-2]}}, batch_size: {{integer: [16, 64]}}}}
"""


@pytest.fixture
def make_pretrain(tmp_path: Path) -> MakePretrain:
    """Load a sweep file over data set ``home``; arguments replace parts of it."""

    def make(**changes: str) -> PretrainSweep:
        parts = {"source": "home", "exclude": "[]", "validation": "[v1, v2]", "more": "", **changes}
        path = tmp_path / "pretrain.yaml"
        path.write_text(SWEEP.format(**parts), encoding="utf-8")
        sweep = load_sweep(path)
        assert isinstance(sweep, PretrainSweep)
        return sweep

    return make
