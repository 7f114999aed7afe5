"""What a misspelt name was probably meant to be."""

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the sentence `` Did you mean 'x'?``, with a leading space, or an empty text.

    Examples
    --------
    >>> did_you_mean("n_trails", ["n_trials", "n_steps"])
    " Did you mean 'n_trials'?"
    """
    allowed = list(allowed)
    folded = {name.casefold(): name for name in reversed(allowed)}
    close = difflib.get_close_matches(given.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{folded[close[0]]}'?" if close else ""
