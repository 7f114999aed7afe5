"""Decides what runs where, and what came of it: stores, sweeps, reviews and the command line."""
