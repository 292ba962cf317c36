"""The figures as one picture, read on light and on dark pages."""

from collections.abc import Mapping
from html import escape
from typing import Any

from benchmarks.peers.rows import ALONE, END_TO_END

PANELS = ((ALONE, "two workers alone, on a full queue"), (END_TO_END, "end to end, from MQTT publisher to function"))
WIDTH, NAMES, BAR, GAP, VALUES = 760, 230, 16, 10, 130
"""In pixels: all of it, the titles, a bar, between two bars, and the numbers behind them."""
TOP = 46

STYLE = """
  .page { fill: #ffffff }  text { fill: #1f2328; font: 13px system-ui, sans-serif }  .head { font-weight: 600 }
  .bar { fill: #8c959f }  .ours { fill: #1a7f37 }  .spread { stroke: #1f2328 }
  .quiet { fill: #59636e }  .bad { fill: #d1242f }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }  text { fill: #f0f6fc }  .bar { fill: #6e7681 }  .ours { fill: #2ea043 }
    .spread { stroke: #f0f6fc }  .quiet { fill: #9198a1 }  .bad { fill: #ff7b72 }
  }
"""


def svg(figures: Mapping[str, Any]) -> str:
    """Return the picture: a bar for each median, a line from the least to the most, who has lost messages in red.

    Args:
        figures: As they are written as JSON.
    """
    drawn, y = [], 0
    for name, title in PANELS:
        rows = {key: row for key, row in figures.items() if row.get(name)}
        if not rows:
            continue
        drawn.append(f'<text class="head" x="12" y="{y + 28}">{escape(title)}, messages/s</text>')
        y += TOP
        scale = (WIDTH - NAMES - VALUES) / max(row[name]["most"] for row in rows.values())
        for key, row in sorted(rows.items(), key=lambda item: -item[1][name]["median"]):
            drawn += _bar(row, row[name], scale=scale, y=y, ours=key.startswith("routemq-"))
            y += BAR + GAP
    for row in figures.values():
        if row["why_not"]:
            text = f"{row['title']}: {row['why_not']}"
            drawn.append(f'<text class="quiet" x="12" y="{y + 20}">{escape(text)}</text>')
            y += BAR + GAP
    height = y + GAP
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            "<title>Messages per second of RouteMQ and its peers</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _bar(row: Mapping[str, Any], spread: Mapping[str, float], *, scale: float, y: int, ours: bool) -> list[str]:
    middle, text_y = y + BAR / 2, y + BAR - 3
    start, end, most = (NAMES + spread[name] * scale for name in ("least", "median", "most"))
    kind = "ours" if ours else "bar"
    lost = f' <tspan class="bad">loses {row["lost"]:,} of {row["published"]:,}</tspan>' if row["lost"] else ""
    return [
        f'<text x="{NAMES - 8}" y="{text_y}" text-anchor="end">{escape(row["title"])}</text>',
        f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{end - NAMES:.1f}" height="{BAR}" rx="2"/>',
        f'<path class="spread" d="M{start:.1f} {middle}H{most:.1f}"/>',
        f'<text x="{most + 6:.1f}" y="{text_y}">{spread["median"]:,.0f}{lost}</text>',
    ]
