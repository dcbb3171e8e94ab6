"""Times of records, in the many ways in which they are written, to microseconds."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_TIMESTAMP_US = 1 << 62


def parse_timestamp(value: object) -> int:
    """Microseconds since 1970 UTC; 0 for what cannot be read and for times before 1970.

    A number is taken by its size: below 1e11 seconds (until the year 5138), below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds. A string is ISO 8601 or such a number; without a zone it is UTC.
    """
    try:
        if type(value) is str:
            text = value.strip()
            # Eight digits are a day, 20240131; any other bare number counts time.
            if len(text) != 8 and text.replace(".", "", 1).isdecimal():
                return _scaled(float(text)) if "." in text or len(text) > 20 else _scaled(int(text))
            value = datetime.fromisoformat(text)
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return max(0, (moment - _EPOCH) // _MICROSECOND)
        if isinstance(value, date):
            return max(0, (value - _EPOCH.date()) // _MICROSECOND)
        if type(value) in (int, float):
            return _scaled(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        pass
    return 0


def _scaled(value: float) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        return 0
    if value < 1e11:
        value_us = value * 1_000_000
    elif value < 1e14:
        value_us = value * 1_000
    else:
        value_us = value if value < 1e17 else value // 1_000
    return max(0, min(round(value_us), _MAX_TIMESTAMP_US))
