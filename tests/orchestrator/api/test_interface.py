"""``import orchestrator``: which names are public, and what importing them costs."""

import subprocess
import sys

import pytest

import orchestrator as so

PUBLIC = {
    *("Hypnogram", "Ingested", "Model", "OrchestratorError", "Results", "Review"),
    *("ingest", "load_model", "results", "review", "sweep", "synth"),
}


def test_these_names_are_public_and_no_others() -> None:
    assert set(so.__all__) == PUBLIC
    assert set(dir(so)) >= PUBLIC
    for name in so.__all__:
        assert getattr(so, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'stages'"):
        so.stages  # noqa: B018


@pytest.mark.heavy
def test_importing_it_imports_nothing_heavy_and_no_module_takes_the_place_of_a_function() -> None:
    script = (
        "import sys; before = set(sys.modules); import orchestrator as so;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "heavy = new & {'numpy', 'pandas', 'pyarrow', 'torch', 'ray', 'mne', 'matplotlib', 'pydantic', 'optuna'};"
        "assert not heavy, heavy;"
        "first = so.sweep, so.review;"
        "import orchestrator.sweeps.runner, orchestrator.reviews.report;"
        "assert (so.sweep, so.review) == first and all(map(callable, first))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
