"""Flower's templates with ours laid over them."""

import logging
import re
from pathlib import Path

import flower
from tornado.template import BaseLoader, Template

logger = logging.getLogger(__name__)

NAVIGATION = "navbar.html"

LAST_OWN_ENTRY = """\
            {% if active_tab == 'broker' %}aria-current="page"{% end %}>Broker</a>
        </li>
"""
"""Where the entries of the navigation end that belong to Flower itself; ours follow."""


LIGHT_BASE = "light_base.html"
"""Flower's base.html for our pages, without the scripts that only Flower's own tables and clocks need."""

UNUSED_SCRIPTS = re.compile(
    r"\s*<script src=\"\{\{ static_url\('js/(?:jquery|datatables|moment|flower)[^']*'\) \}\}\"></script>"
)


class OverlaidTemplates(BaseLoader):
    """Finds a template in our folder, else in Flower's; Flower's navigation gets our entries.

    Flower's scripts are a megabyte, most of it time zones, which a browser reads before it shows anything: our pages,
    which use Bootstrap's alone, are built on a base without the others.

    Args:
        own: Folder of our templates.
        flowers: Folder of Flower's.
    """

    def __init__(self, *, own: Path, flowers: Path) -> None:
        super().__init__()
        self._own, self._flowers = own, flowers

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """Return the name itself."""
        return name

    def _create_template(self, name: str) -> Template:
        if name == LIGHT_BASE:
            text = UNUSED_SCRIPTS.sub("", (self._flowers / "base.html").read_text("utf-8"))
            return Template(text, name=name, loader=self)
        own = self._own / name
        text = (own if own.exists() else self._flowers / name).read_text("utf-8")
        if name == NAVIGATION:
            text = extended_navigation(text, (self._own / "navigation_entries.html").read_text("utf-8"))
        return Template(text, name=name, loader=self)


def extended_navigation(text: str, entries: str) -> str:
    """Return Flower's navigation with further entries behind its own; without them when it is not the one we know."""
    if text.count(LAST_OWN_ENTRY) != 1:
        logger.warning(
            "the navigation of Flower %s is not the one RouteMQ knows: open /dead-letters and /routes by hand",
            flower.__version__,
        )
        return text
    return text.replace(LAST_OWN_ENTRY, LAST_OWN_ENTRY + entries)
