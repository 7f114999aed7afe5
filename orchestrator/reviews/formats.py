"""How a review writes numbers and short lists. Pure."""

import math
from collections.abc import Sequence

DASH = "\u2013"  # en dash, for "no value" and between the ends of a range
MINUS = "\u2212"


def number(value: float | None, digits: int = 3) -> str:
    """Fixed decimals; an en dash for no value.

    >>> number(0.12345), number(None), number(-0.5, 1)
    ('0.123', '\u2013', '\u22120.5')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "\u221e" if value > 0 else f"{MINUS}\u221e"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)  # + 0.0: no minus zero


def signed(value: float | None, digits: int = 3) -> str:
    """Fixed decimals with a sign.

    >>> signed(0.04), signed(-0.04)
    ('+0.040', '\u22120.040')
    """
    text = number(value, digits)
    return text if text == DASH or text.startswith(MINUS) else f"+{text}"


def spread(mean: float | None, sd: float | None, digits: int = 3) -> str:
    """Mean and standard deviation; the mean alone where there is no deviation.

    >>> spread(0.7, 0.01), spread(0.7, None), spread(None, None)
    ('0.700 \u00b1 0.010', '0.700', '\u2013')
    """
    if mean is None or sd is None:
        return number(mean, digits)
    return f"{number(mean, digits)} \u00b1 {number(sd, digits)}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Ends of an interval of differences, with their signs.

    >>> interval(-0.01, 0.04), interval(None, None)
    ('\u22120.010 to +0.040', '\u2013')
    """
    if low is None or high is None:
        return DASH
    return f"{signed(low, digits)} to {signed(high, digits)}"


def p_value(value: float | None) -> str:
    """Two significant digits, and a bound for what is too small to matter.

    >>> p_value(0.0312), p_value(0.00004), p_value(1.0), p_value(None)
    ('0.031', '< 0.001', '1.0', '\u2013')
    """
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:#.2g}"


def significant(value: float | None, digits: int = 4) -> str:
    """Significant digits, for numbers without a natural size such as rewards and learning rates.

    >>> significant(0.000123456), significant(None)
    ('0.0001235', '\u2013')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:#.{digits}g}".replace("-", MINUS)


def rate(value: float | None, decimals: int = 1) -> str:
    """Return a learning rate, with two digits unless told otherwise.

    >>> rate(0.0001), rate(None)
    ('1.0e\u221204', '\u2013')
    """
    return DASH if value is None else f"{value:.{decimals}e}".replace("-", MINUS)


def rates_apart(first: float, second: float) -> tuple[str, str]:
    """Return two different learning rates with as many digits as tell them apart.

    >>> rates_apart(1e-4, 1.1e-5), rates_apart(1e-4, 1.004e-4)
    (('1.0e\u221204', '1.1e\u221205'), ('1.000e\u221204', '1.004e\u221204'))
    """
    pairs = ((rate(first, decimals), rate(second, decimals)) for decimals in range(1, 17))
    return next(pair for pair in pairs if pair[0] != pair[1])


def percent(value: float | None) -> str:
    """Whole percent; a space that does not break keeps number and sign together.

    >>> percent(0.5) == "50\N{NO-BREAK SPACE}%"
    True
    """
    return DASH if value is None else f"{100 * value:.0f}\u00a0%"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Number and noun.

    >>> counted(1, "trial"), counted(2, "batch", "batches")
    ('1 trial', '2 batches')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def listed(parts: Sequence[str]) -> str:
    """One, two, three -> one, two and three.

    >>> listed(["one"]), listed(["one", "two", "three"])
    ('one', 'one, two and three')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def range_text(ends: tuple[int, int] | None) -> str:
    """One number, or lowest and highest.

    >>> range_text((3, 3)), range_text(None)
    ('3', '\u2013')
    """
    if ends is None:
        return DASH
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def some(names: Sequence[str], at_most: int = 40) -> str:
    """Names in a row; a large data set is counted after the first ones.

    >>> some(["a", "b", "c"], at_most=2), some([])
    ('a, b and 1 more', '\u2013')
    """
    shown = ", ".join(names[:at_most]) or DASH
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"


def first_line(error: str | None) -> str:
    r"""First line of an error, without its full stop.

    >>> first_line("out of memory.\nTraceback"), first_line(None)
    ('out of memory', 'no message was stored')
    """
    lines = (error or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else "no message was stored"
