"""Errors of ours come out of a Ray task as they went in; others are not swallowed."""

import os

import pytest

from orchestrator.errors import IntegrityError, RecordingError
from orchestrator.telemetry.tasks import outcome, result_of


def test_result_has_worker_and_seconds() -> None:
    result = result_of(outcome(lambda: {"tile": "a", "n": 3}))
    assert (result["tile"], result["n"], result["worker_pid"]) == ("a", 3, os.getpid())
    assert result["seconds"] >= 0


def test_error_of_ours_keeps_class_and_message() -> None:
    def fail() -> dict[str, str]:
        raise IntegrityError("file x is damaged")

    row = outcome(fail)
    with pytest.raises(IntegrityError, match=r"^file x is damaged$") as caught:
        result_of(row)
    assert caught.value.exit_code == 4


def test_bug_of_ours_is_not_turned_into_data() -> None:
    def fail() -> dict[str, str]:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        outcome(fail)


def test_class_with_another_signature_is_an_error_all_the_same() -> None:
    def fail() -> dict[str, str]:
        raise RecordingError("truncated", "half a file")

    with pytest.raises(RecordingError, match="half a file"):
        result_of(outcome(fail))
