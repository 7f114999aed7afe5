"""Kept models: a folder with weights and ``model.json``, written by a sweep and read by whoever stages with it."""
