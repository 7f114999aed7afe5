"""What a search notes of its time and money, and what ends it: without Ray."""

import pytest
from ray.tune import TuneError

from orchestrator.errors import SetupError
from orchestrator.sweep.halt import Halt
from orchestrator.sweep.tuning import _own_errors


def test_what_stopped_a_sweep_is_raised_as_it_was() -> None:
    halt = Halt()
    with pytest.raises(TuneError, match="a page"), _own_errors(halt):
        raise TuneError("a page")
    halt.stop(SetupError("the event log cannot be written"))
    with pytest.raises(SetupError, match="cannot be written"), _own_errors(halt):
        raise TuneError("a page")
