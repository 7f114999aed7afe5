"""Where durable things live: URIs, paths, atomic writes, content hashes."""

DEFAULT = "runs"
"""Where what is durable lies, for whoever names no store and has not set `VARIABLE`."""

VARIABLE = "ORCHESTRATOR_STORE"
"""Environment variable with the URI of the store."""
