"""Whether a fresh search that is told the same outcomes proposes the same parameters again. Nothing is trained."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from orchestrator.config.proposals import NONE
from orchestrator.config.sweep_sections import SearchBase
from orchestrator.method import Scores
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ERROR, SIGNATURE, so_far
from orchestrator.sweeps.search.searcher import Hooks, begin_search
from orchestrator.sweeps.search.study import Study, error_of, name_of, signature_of
from search_spaces.space import Params, Space


def why_not_comparable(search: SearchBase | None, n_attempts: int) -> str | None:
    """Say why proposals need not come again from the same seed; None where they must."""
    if search is None:
        return "the sweep has no search"
    if n_attempts > 1:
        return "the sweep was interrupted, and a proposal depends on which trials had ended before"
    if search.scheduler.name != NONE:
        return "a scheduler ended trials by their intermediate reports, which are not made again"
    if search.warm_start:
        return "the sampler had learned from trials of other sweeps"
    if min(search.max_concurrent, search.n_trials) > 1:
        return "trials ran side by side, and a proposal depends on which of them ended first"
    return None


def first_other(
    trials: Sequence[FrozenTrial],
    space: Space,
    first: Sequence[Params],
    search: SearchBase,
    *,
    seed: int,
    identify: Callable[[Mapping[str, Any]], str],
    journal: Path,
) -> str | None:
    """Return the name of the first trial that a fresh search proposes otherwise; None if there is none.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        Those of a sweep in one attempt, one at a time, in the order of proposal.
    space, first, search, seed
        See :func:`orchestrator.sweeps.search.searcher.begin_search`.
    identify : callable
        Parameters to the signature of their predictions, as in the sweep.
    journal : Path
        A file of the fresh study, which does not exist yet.
    """
    by_name = {name_of(trial): trial for trial in trials}
    values = {signature_of(trial): trial.values for trial in trials}
    study = Study("replay", journal, search.directions)
    searcher = begin_search(
        study,
        space,
        first,
        search.model_copy(update={"n_trials": len(trials)}),
        seed=seed,
        hooks=Hooks(
            identify=identify,
            evaluate=lambda params: Scores(values=tuple(values[identify(params)])),
            evaluate_part=so_far,
            changed=lambda: None,
            told=lambda told: None,
            started=lambda name, signature, params: None,
            exhausted=lambda: None,
            is_held=lambda: False,
        ),
        halt=Halt(),
    )
    for number in map(str, itertools.count()):
        params = searcher.suggest(number)
        if not isinstance(params, dict):
            break
        was = by_name[searcher.name_of(number)]
        if params != was.params:
            break  # what came after it followed from other values
        signature = signature_of(was)
        outcome = {ERROR: error_of(was)} if signature is None else {SIGNATURE: signature}
        searcher.on_trial_complete(number, outcome)
    proposed = {name_of(trial): trial.params for trial in study.trials}
    return next((name for name, was in by_name.items() if proposed.get(name) != was.params), None)
