"""The grid of the epoch store."""

STORE_SFREQ = 100
"""Sampling rate, Hz; a filter must end below half of it."""

EPOCH_S = 30
"""Length of an epoch, s (Rechtschaffen & Kales 1968; AASM)."""
