"""Where durable things live: URIs, paths, atomic writes, content hashes."""
