"""Recordings to epochs: reading, scoring labels, cleaning, quality, ingest."""
