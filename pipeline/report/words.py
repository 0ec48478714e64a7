"""Numbers in words: one way for each kind, on the page and in the model card."""

from __future__ import annotations

from collections.abc import Sequence


def metric(value: float | None) -> str:
    """An AUC or the like; – where it is not known.

    >>> metric(0.67437), metric(None)
    ('0.6744', '–')
    """
    return "–" if value is None else f"{value:.4f}"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends of an interval.

    >>> interval([0.66, 0.68])
    '0.6600 to 0.6800'
    """
    return "–" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}".replace("-", "−")


def difference(value: float | None) -> str:
    """A change with its sign.

    >>> difference(-0.0012)
    '−0.0012'
    """
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1.

    >>> percent(0.2049)
    '20.5 %'
    """
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def count(number: int | None) -> str:
    """How many.

    >>> count(228329)
    '228,329'
    """
    return "–" if number is None else f"{number:,}"


def quantity(value: float | None) -> str:
    """A number of any size.

    >>> [quantity(v) for v in (1650000000000.0, 1234.5, 2.0, 0.0312)]
    ['1.65e+12', '1,234', '2', '0.0312']
    """
    if value is None:
        return "–"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def megabytes(number: float | None) -> str:
    """Bytes as MB of 10^6.

    >>> megabytes(1284680)
    '1.3 MB'
    """
    return "–" if number is None else f"{number / 1e6:,.1f} MB"


def seconds(value: float) -> str:
    """A duration.

    >>> [seconds(v) for v in (0.04, 12.34, 192.4, 7384)]
    ['0.0 s', '12.3 s', '3 min 12 s', '2 h 3 min']
    """
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(iso: str) -> str:
    """An ISO date and time in UTC.

    >>> moment("2026-11-25T09:42:51+00:00")
    '2026-11-25 09:42 UTC'
    """
    return f"{iso[:10]} {iso[11:16]} UTC"


def short(digest: str | None) -> str:
    """The first digits of a digest, as they are shown."""
    return "–" if not digest else digest[:12]
