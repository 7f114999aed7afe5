"""One recording, staged by a model, becomes files: hypnogram, events, table, summary and picture."""
