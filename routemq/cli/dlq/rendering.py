"""Letters for the eye: ages, payloads, bars."""

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from routemq.dead_letters import Bucket
from routemq.dead_letters.desk import PayloadView
from routemq.text import plural, printable

_MOST_DUMP_LINES = 64
_AS_WIDE_AS_IT_TAKES = 100_000
_BARS = " ▁▂▃▄▅▆▇█"
_AGES = ((86_400 * 2, 86_400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"))


def wide_console() -> Console:
    """Return a console for what may be long: as wide as the terminal, and in a pipe, for grep, as wide as it takes."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _AS_WIDE_AS_IT_TAKES)


def age(seconds: float) -> str:
    """Return `3 min`, `5 h`, `12 d`; `?` of what a time that somebody has written makes endless."""
    if not math.isfinite(seconds):
        return "?"
    for least, unit, name in _AGES:
        if seconds >= least:
            return f"{int(seconds / unit)} {name}"
    return f"{max(0, int(seconds))} s"


def size(count: int | None) -> str:
    """Return `38 bytes`, `1.2 KiB`."""
    if count is None:
        return "unreadable"
    if count < 1024:
        return plural(count, "byte")
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MiB"


def payload_text(view: PayloadView) -> tuple[str, str]:
    """Return what a payload is, and how a terminal shows it."""
    if view.text is not None:
        # Also with control characters, written out, a text is easier to read than its bytes.
        kind, shown = "JSON" if view.json else "text", printable(view.json or view.text, lines=True)
        is_cut = view.is_cut
    else:
        kind, lines = view.kind, (view.hex or "").splitlines()
        shown, is_cut = "\n".join(lines[:_MOST_DUMP_LINES]), view.is_cut or len(lines) > _MOST_DUMP_LINES
    more = f"\n… of {size(view.size_bytes)}; --payload writes all of them" if is_cut else ""
    return kind, shown + more


def bar_chart(buckets: Sequence[Bucket], *, height: int = 4) -> list[str]:
    """Return the lines of a bar chart, with its scale and its times."""
    most = max((bucket.count for bucket in buckets), default=0) or 1
    eighths = [0 if not bucket.count else max(1, round(bucket.count / most * height * 8)) for bucket in buckets]
    scale = len(f"{most:,}")
    lines = []
    for row in range(height - 1, -1, -1):
        label = f"{most:,}" if row == height - 1 else ("0" if row == 0 else "")
        bars = "".join(_BARS[min(8, max(0, value - row * 8))] for value in eighths)
        lines.append(f"{label:>{scale}} │{bars}")
    start, end = buckets[0].start_at, buckets[-1].end_at
    pattern = "%m-%d %H:%M" if end - start > 86_400 else "%H:%M:%S"
    left, right = (datetime.fromtimestamp(at, UTC).strftime(pattern) for at in (start, end))
    lines.append(" " * scale + " └" + "─" * len(buckets))
    lines.append(" " * (scale + 2) + left + f"{right}Z".rjust(max(1, len(buckets) - len(left))))
    return lines
