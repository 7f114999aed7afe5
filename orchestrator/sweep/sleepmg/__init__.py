"""Sweeps of the method SleepMG: cross-validation over subjects, as fixed rows, as a search, or both."""
