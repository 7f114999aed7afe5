"""A finished sweep in the store -> ``reviews/<name>/``: one self-contained page, its figures and tables.

What a method shows is in its ``review``: ``statistics.py`` and its neighbours have the numbers, ``wording.py`` and
``cautions.py`` the sentences, ``report.py`` the files. Nothing depends on the time or the machine: the same
sweep gives the same bytes.
"""

from orchestrator.config.methods import METHODS, room
from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError, DataError
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store

PAGE = "review.html"


def write_review(store: Store, name: str) -> str:
    """Write the review of a finished sweep and return the URI of its page.

    Writes the page, ``review.html``, with the PNG and CSV of every figure in it and a CSV of every table, under
    ``reviews/<name>/``; the page last: where it is, the others are.

    Raises
    ------
    ConfigError
        There is no sweep of that name (the message lists those there are), or it has not finished.
    DataError
        Its tables were written by another version.
    IntegrityError
        Its manifest or one of its tables is damaged.
    """
    if not store.exists(paths.sweep_trials(name)):
        raise ConfigError(no_sweep(name, store))
    files = room(_method(store, name), "review").review_files(store, name)
    for filename in sorted(files, key=lambda filename: filename == PAGE):
        store.write_bytes(paths.review(name, filename), files[filename])
    return store.uri_of(paths.review(name, PAGE))


def _method(store: Store, name: str) -> str:
    method = read_json(store, paths.sweep_manifest(name)).get("method")
    if method not in METHODS:
        raise DataError(
            f"manifest.json of sweep {name!r} has the method {method!r}; allowed: {', '.join(METHODS)}. Another "
            "version wrote it. Run the sweep again under a new name."
        )
    return str(method)


def no_sweep(name: str, store: Store) -> str:
    """Say that a store has no finished sweep of a name, and which ones it has."""
    started = store.folders(paths.SWEEPS)
    finished = [other for other in started if store.exists(paths.sweep_trials(other))]
    if name in started:
        return (
            f"sweep {name!r} in {store.uri} has not finished: there is no "
            f"{paths.sweep_trials(name)}. Run 'orchestrator sweep' with its file again; it goes "
            "on where it stopped."
        )
    if not finished:
        return (
            f"there is no sweep {name!r} in {store.uri}, nor any other. Run 'orchestrator sweep' "
            "first, or give another store with --store."
        )
    return (
        f"there is no sweep {name!r} in {store.uri}.{did_you_mean(name, finished)} "
        f"There are: {', '.join(finished)}."
    )
