"""Typed YAML files: what a sweep searches, what a cluster is made of, what the package says of itself.

Every mistake in a file is reported at file:line:column, all of them at once. Nothing here imports
Ray, torch or MNE.
"""
