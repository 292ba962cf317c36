"""Letters for the eye: ages, payloads, bars."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from routemq.dead_letters import Bucket
from routemq.text import printable

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_DUMP_BYTES = 1024
_BARS = " ▁▂▃▄▅▆▇█"
_AGES = ((86_400 * 2, 86_400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"))


def age(seconds: float) -> str:
    """Return `3 min`, `5 h`, `12 d`."""
    for least, unit, name in _AGES:
        if seconds >= least:
            return f"{int(seconds / unit)} {name}"
    return f"{max(0, int(seconds))} s"


def size(count: int | None) -> str:
    """Return `38 bytes`, `1.2 KiB`."""
    if count is None:
        return "unreadable"
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MiB"


def payload_text(payload: bytes, *, limit_bytes: int | None = 65_536) -> tuple[str, str]:
    """Return what a payload is (`JSON`, `text`, `binary`, `empty`), and how to show it."""
    if not payload:
        return "empty", ""
    shown = payload if limit_bytes is None else payload[:limit_bytes]
    cut = len(payload) - len(shown)
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "binary", hex_dump(payload)
    if not cut and is_json(text):
        return "JSON", printable(pretty_json(text), lines=True)
    more = f"\n… {cut:,} more bytes; --payload writes all of them" if cut else ""
    return "text", printable(shown.decode("utf-8", "ignore"), lines=True) + more


def is_json(text: str) -> bool:
    """Say whether a text is a JSON object or array."""
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def pretty_json(text: str) -> str:
    """Return JSON with line breaks, every piece as it was written: no number changes."""
    result, depth, previous = "", 0, ""
    for piece in _PIECE.findall(text):
        closes, opened = piece in "}]", previous in ("{", "[")
        if closes:
            depth -= 1
        # An empty object or array stays on its line.
        if (closes and not opened) or (not closes and (opened or previous == ",")):
            result += "\n" + "  " * depth
        result += piece + (" " if piece == ":" else "")
        if piece in "{[":
            depth += 1
        previous = piece
    return result


def hex_dump(data: bytes) -> str:
    """Return the bytes as `hexdump -C` would, the first kibibyte of them."""
    lines = []
    for offset in range(0, min(len(data), _DUMP_BYTES), 16):
        part = data[offset : offset + 16]
        left, right = part[:8].hex(" "), part[8:].hex(" ")
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:06x}  {left:<23}  {right:<23}  {shown}")
    if len(data) > _DUMP_BYTES:
        lines.append(f"… {len(data) - _DUMP_BYTES:,} more bytes; --payload writes all of them")
    return "\n".join(lines)


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
