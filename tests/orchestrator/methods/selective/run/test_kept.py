"""Where the weights of a trial are."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.methods.selective.run import kept
from orchestrator.methods.selective.trial.configuration import Configuration, Trial
from orchestrator.store import paths


@pytest.mark.parametrize(
    ("subject", "n_kept", "expected"),
    [
        (None, 2, paths.trial_weights("probe", "s")),
        (None, 0, paths.encoder_weights("e1")),  # never finetuned: it is the encoder
        ("t1", 2, paths.trial_weights("probe", "s")),
        ("t1", 0, paths.trial_weights("probe", "s")),  # a file of its own, beside those of others
    ],
)
def test_where_the_weights_are(
    subject: str | None, n_kept: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = Configuration(
        kept=np.arange(n_kept),
        tau_quantile=0.5,
        tau_absolute=0.1,
        learning_rate=1e-4,
        n_steps=3,
        seed=7,
        subject=subject,
    )
    trial = Trial(configurations=(configuration,), signature="s", stored=("s",))
    target = SimpleNamespace(dataset="clinic")
    plan: Any = SimpleNamespace(
        sweep=SimpleNamespace(name="probe", modality="eeg", target=target),
        train=(),
        target_adapt=(),
        early_stop=(),
        adapted_alone=("t1",) if subject else (),
    )
    scored: Any = SimpleNamespace(encoder=SimpleNamespace(encoder_id="e1"), score_id="x")
    inputs: Any = SimpleNamespace(learned_stages=(), reward_S=np.ones(4))
    one: Any = SimpleNamespace(trial=trial, signature="s")
    monkeypatch.setattr(kept, "_metrics", lambda *_: [])
    found = kept.trained(plan, scored, inputs, one, {"n_selectable": 4})
    (weights,) = found.weights
    assert (weights.path, weights.seed, weights.subject) == (expected, 7, subject)
    assert (weights.record is None) == (expected != paths.encoder_weights("e1"))
    assert found.about["adapted_to"]["subjects"] == (["t1"] if subject else [])
