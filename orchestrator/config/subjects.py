"""Which subjects the globs of a sweep file name, once the store has told which subjects there are."""

import fnmatch
from collections.abc import Iterable, Sequence

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError


def resolve_subjects(
    patterns: Sequence[str],
    exclude: Sequence[str],
    available: Iterable[str],
    unlabelled: Iterable[str] = (),
) -> list[str]:
    """Find the subjects that globs name.

    Parameters
    ----------
    patterns, exclude : sequence of str
        Globs (``*``, ``?``, ``[...]``, case matters) of subjects to take and to leave out.
    available : iterable of str
        Subjects there are.
    unlabelled : iterable of str
        Subjects that are there and cannot be taken, because nobody scored them.

    Returns
    -------
    list of str
        Sorted, each once, at least one.

    Raises
    ------
    ConfigError
        A glob, of either kind, matches nothing (a typo in ``exclude`` would let a target subject
        into the source), or nothing is left.

    Examples
    --------
    >>> resolve_subjects(["sc4*"], ["sc402"], ["sc401", "sc402", "st701"])
    ['sc401']
    """
    names = sorted(set(available))
    others = sorted(set(unlabelled) - set(names))
    taken = _matching(patterns, names, others) - _matching(exclude, sorted({*names, *others}))
    if not taken:
        raise ConfigError(
            f"No subject is left of {listed(patterns)} after excluding {listed(exclude)}. "
            f"Available: {listed(names)}."
        )
    return sorted(taken)


def _matching(
    patterns: Sequence[str], names: Sequence[str], unlabelled: Sequence[str] = ()
) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            others = [name for name in unlabelled if fnmatch.fnmatchcase(name, pattern)]
            if others:
                raise ConfigError(
                    f"'{pattern}' matches unlabelled subjects alone ({listed(others)}), and this role needs stages. "
                    f"Labelled: {listed(names)}."
                )
            raise ConfigError(
                f"No subject matches '{pattern}'.{did_you_mean(pattern, names)} "
                f"Available: {listed(names)}."
            )
        found.update(matches)
    return found


def listed(names: Sequence[str], limit: int = 30) -> str:
    """Return names as one line for an error message, cut to a readable length.

    Examples
    --------
    >>> listed(["a", "b", "c"], limit=2)
    'a, b, and 1 more'
    """
    shown = [*names[:limit], *([f"and {len(names) - limit} more"] if len(names) > limit else [])]
    return ", ".join(shown) or "none"
