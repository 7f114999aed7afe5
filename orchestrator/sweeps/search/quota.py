"""How many trials of a search may fail, and what is said where more did. Pure."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import SweepFailedError
from orchestrator.sweeps.failures import digest, digest_text
from orchestrator.sweeps.search.study import error_of, name_of


def failure_of(
    name: str, search: SearchBase, trials: Sequence[FrozenTrial], *, is_over: bool
) -> SweepFailedError | None:
    """Return why a search has failed; None where it has not.

    Parameters
    ----------
    name : str
        Of the sweep.
    search : SearchBase
        Its quota is a share of all the trials that it wants, those that a budget spares it included.
    trials : sequence of FrozenTrial
        Those that ended, of every attempt. A trial that shares another one's failed training has failed, too.
    is_over : bool
        Whether no other trial will come: then it has also failed if none of these is any good, whatever the quota.
    """
    errors = {name_of(trial): error for trial in trials if (error := error_of(trial))}
    if is_over and len(errors) == len(trials) > 0:
        what = f"all {len(trials)} trials of sweep {name!r} failed"
    elif len(errors) / search.n_trials > search.failure_quota:
        allowed = search.failure_quota * search.n_trials
        what = (
            f"{len(errors)} trials of sweep {name!r} failed, more than search.failure_quota allows "
            f"({allowed:g})"
        )
    else:
        return None
    return SweepFailedError(
        f"{what}:\n{digest_text(digest(errors.items()))}\n"
        "With --retry-failed the same command tries them again."
    )
