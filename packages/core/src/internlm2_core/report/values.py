"""How values are written on the page."""

from internlm2_records.report import Column, Value

NARROW = "\u202f"
"""A space that does not break."""
DASH, MINUS, NO_CHANGE = "–", "−", "±0"


def written(value: Value, column: Column) -> str:
    """A value of a column, or a dash for None.

    Args:
        value: The value.
        column: Its column.
    """
    if value is None:
        return DASH
    if isinstance(value, str):
        return value
    text = _plain(value, column)
    # A small negative number may be written as zero, which has no sign.
    return text.replace("-", MINUS) if any(digit in text for digit in "123456789") else text.lstrip("-")


def _plain(value: float, column: Column) -> str:
    match column.form:
        case "count":
            return f"{value:,.0f}"
        case "share" | "bar":
            return percent(value)
        case "points":
            return f"{value:,.1f}"
        case "megabytes":
            return megabytes(value)
        case "seconds":
            return clock(value)
        case _:
            return f"{value:,.{0 if isinstance(value, int) else column.digits}f}"


def difference(value: float | None, column: Column) -> str:
    """A difference of two values of a column, with its sign.

    Args:
        value: The difference.
        column: Their column.
    """
    if value is None:
        return ""
    size = abs(value)
    text = f"{100 * size:.1f}{NARROW}pp" if column.form in ("share", "bar") else written(size, column)
    if not any(digit in text for digit in "123456789"):
        return NO_CHANGE
    return f"{'+' if value > 0 else MINUS}{text}"


def judged(value: float | None, column: Column) -> str:
    """Whether a difference is ``good``, ``bad``, or neither.

    Args:
        value: The difference.
        column: Its column.
    """
    if not value or not column.better or difference(value, column) == NO_CHANGE:
        return ""
    return "good" if (value > 0) == (column.better == "higher") else "bad"


def percent(share: float | None) -> str:
    """A share in percent, one decimal unless it is whole."""
    if share is None:
        return DASH
    return f"{100 * share:.1f}".removesuffix(".0") + f"{NARROW}%"


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for None.

    Args:
        value: The number.
        digits: Its decimals.
    """
    return DASH if value is None else written(float(value), Column("", digits=digits))


def megabytes(num_bytes: float) -> str:
    """Bytes as megabytes of 10**6."""
    return f"{num_bytes / 1e6:,.2f}" if num_bytes < 1e8 else f"{num_bytes / 1e6:,.0f}"


def clock(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}{NARROW}h {minutes % 60:02d}{NARROW}min"
    return f"{minutes}{NARROW}min {rest:02d}{NARROW}s" if minutes else f"{seconds:.1f}{NARROW}s"
