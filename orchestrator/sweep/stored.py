"""What a sweep has stored of itself when it began."""

from orchestrator.config.sweep import SweepFile, load_sweep
from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.store import paths
from orchestrator.store.decoding import advice
from orchestrator.store.store import Store


def stored_sweep(store: Store, name: str) -> SweepFile:
    """Return the sweep file that the store keeps; FileNotFoundError where there is none.

    Raises
    ------
    IntegrityError
        It is no sweep file. This package wrote it, so whatever is wrong with it is no mistake of the user's.
    """
    where = store.uri_of(paths.sweep_file(name))
    with store.local_copy(paths.sweep_file(name)) as file:
        try:
            return load_sweep(file)
        except ConfigError as error:
            found = str(error).replace(str(file), where)
            raise IntegrityError(
                f"the file that sweep {name!r} keeps of its beginning is damaged, or of another version:\n{found}\n"
                f"{advice(where)}"
            ) from error
