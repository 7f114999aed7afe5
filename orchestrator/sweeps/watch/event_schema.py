"""What the lines of a sweep's ``events.jsonl`` hold, as JSON Schema: those who read the log may rely on it."""

from collections.abc import Mapping
from typing import Any

from orchestrator.tables.shown import selected_fields, units

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_AMOUNT = {"type": "number", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_TRIAL = {"type": "string", "pattern": r"^(t\d{3,}|arm-.+|row-.+)$"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_CODE = {
    "type": "object",
    "properties": {
        "commit": _MAYBE_TEXT,
        "dirty": {"type": ["boolean", "null"]},
        "trainables_sha256": _TEXT,
    },
    "required": ["commit", "dirty", "trainables_sha256"],
    "additionalProperties": False,
}

_ENDED = {
    "trial": _TRIAL,
    "signature": _MAYBE_TEXT,
    "objective": _MAYBE_NUMBER,
    "reused_from": _MAYBE_TEXT,
}
_SPENT = {"waited_s": _SECONDS, "trained_s": _SECONDS}
_FIXED = {"signature": _TEXT, "error": _TEXT, **_SPENT}

EVENTS: Mapping[str, tuple[str, Mapping[str, Any], tuple[str, ...]]] = {
    "sweep_started": (
        "An attempt at the sweep begins.",
        {"machine": _TEXT, "n_cpus": _NUMBER, "n_gpus": _NUMBER},
        (),
    ),
    "other_version": (
        "It was begun with another version of the package.",
        {"before": _TEXT, "now": _TEXT},
        (),
    ),
    "settings_changed": (
        "It goes on with other settings, none of which changes what is trained; they are stored once all is prepared.",
        {"changes": {"type": "array", "items": _TEXT}},
        (),
    ),
    "other_code": (
        "It was begun with other code of `trainables/`; what is done stays as it is.",
        {"before": _CODE, "now": _CODE},
        (),
    ),
    "encoder_of_other_code": (
        "Encoders that it uses were trained by other code of `trainables/` than it began with.",
        {
            "encoders": {"type": "array", "items": _TEXT},
            "trained_by": _CODE,
            "began_with": _CODE,
        },
        (),
    ),
    "labels_read": (
        "The label gate gave stages: the ledger.",
        {
            "split": _TEXT,
            "purpose": _TEXT,
            "recordings": {"type": "array", "items": _TEXT},
            "n_epochs": _COUNT,
        },
        (),
    ),
    "labels_refused": (
        "Test stages were asked for too early, or twice.",
        {"split": _TEXT, "purpose": _TEXT},
        (),
    ),
    "arm_done": (
        "A control arm ended, with predictions or with an error.",
        {"arm": _TEXT, **_FIXED},
        ("signature", "error", *_SPENT),
    ),
    "row_done": (
        "A row ended, with predictions or with an error.",
        {"row": _TEXT, **_FIXED},
        ("signature", "error", *_SPENT),
    ),
    "refit_done": (
        "After the search: what a chosen trial wanted trained for its model ended, with weights or with an error.",
        {"refit": _TRIAL, **_FIXED},
        ("signature", "error", *_SPENT),
    ),
    "warm_started": (
        "The sampler learns from `n_trials` of a finished sweep; `left_out` says why not from others.",
        {"sweep": _TEXT, "n_trials": _COUNT, "left_out": {"type": "object"}},
        (),
    ),
    "search_started": (
        "Trials begin; `n_trials` are left.",
        {
            "n_trials": {"type": "integer"},
            "n_finished": _COUNT,
            "n_requeued": _COUNT,
            "objective": _MAYBE_TEXT,
        },
        ("objective",),
    ),
    "trial_started": (
        "A trial begins to train, in so many folds, or on so many of the source batches.",
        {
            "trial": _TRIAL,
            "signature": _TEXT,
            "params": {"type": "object"},
            "n_parts": _COUNT,
            "unit": {"enum": list(units())},
            **selected_fields(),
        },
        ("n_parts", "unit", *selected_fields()),
    ),
    "trial_progress": (
        "So many parts of a trial (folds, passes, tenths) are done, and it is not at its end.",
        {"trial": _TRIAL, "n_parts": _COUNT},
        (),
    ),
    "trial_lost": (
        "Its process or node died; it goes on elsewhere.",
        {"trial": _TRIAL, "n_times": _COUNT},
        (),
    ),
    "trial_left": (
        "Its machine is about to be taken away; it has saved itself, and goes on elsewhere.",
        {"trial": _TRIAL},
        (),
    ),
    "trial_done": (
        "A trial has predictions and an objective; training, if it needed any, took `trained_s`, of which it waited "
        "`waited_s` for batches.",
        {**_ENDED, **_SPENT},
        tuple(_SPENT),
    ),
    "trial_failed": ("A trial has none; the error says why.", {**_ENDED, "error": _TEXT}, ()),
    "trial_stopped": (
        "The scheduler ended a trial after `n_parts` reports.",
        {**_ENDED, "n_parts": _COUNT},
        (),
    ),
    "trial_tested": (
        "After the search: test stages judged a trial, once.",
        {"trial": _TRIAL, "split": _TEXT},
        (),
    ),
    "held_for_space": ("No trial begins until the disk has room.", {"free_bytes": _COUNT}, ()),
    "space_again": ("It has.", {"free_bytes": _COUNT}, ()),
    "spent": (
        "What the machines have cost while the search ran, of a search with a limit in money.",
        {"usd": _AMOUNT, "max_usd": _AMOUNT},
        (),
    ),
    "budget_reached": (
        "A budget ended the search.",
        {"budget": _TEXT, "n_trials": _COUNT},
        (),
    ),
    "sweep_stopped": (
        "The attempt ended early: Ctrl-C, a quota, the store, a label that may not be read.",
        {"reason": _TEXT, "message": _TEXT},
        (),
    ),
    "sweep_finished": ("The final table is written.", {"n_trials": _COUNT}, ()),
}
"""Event -> what it means, its fields, and which of these may be missing."""

_EVERY = {
    "time": {"type": "string", "format": "date-time"},
    "event": _TEXT,
    "host": _TEXT,
    "pid": _COUNT,
}


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of one line of a sweep's event log."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of events.jsonl",
        "oneOf": [
            {
                "description": meaning,
                "type": "object",
                "properties": {**_EVERY, "event": {"const": event}, **fields},
                "required": [*_EVERY, *(name for name in fields if name not in optional)],
                "additionalProperties": False,
            }
            for event, (meaning, fields, optional) in EVENTS.items()
        ],
    }
