"""The grid of the epoch store."""

from typing import Literal

STORE_SFREQ = 100
"""Sampling rate, Hz; a filter must end below half of it."""

EPOCH_S = 30
"""Length of an epoch, s (Rechtschaffen & Kales 1968; AASM)."""

BeyondSignal = Literal["quarantine", "trim"]
"""What to do where stages are scored after the end of the signal."""
