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

TASK = "task.html"

HEAD_OF_TASK = """\
    <p class="page-eyebrow">Task details</p>
    <div class="detail-actions">
"""
"""Where the buttons of a task's page begin; ours is the first."""

EXTENSIONS = (
    (NAVIGATION, LAST_OWN_ENTRY, "navigation_entries.html", "open /dead-letters and /routes by hand"),
    (TASK, HEAD_OF_TASK, "letter_of_task.html", "its tasks do not lead to their dead letters"),
)
"""Template of Flower's, the part of it that ours follows, ours, and what is to be done without it."""

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
        for extended_name, after, ours, otherwise in EXTENSIONS:
            if name == extended_name:
                text = extended(text, after, (self._own / ours).read_text("utf-8"), otherwise=otherwise)
        return Template(text, name=name, loader=self)


def extended(text: str, after: str, ours: str, *, otherwise: str) -> str:
    """Return a template of Flower's with ours behind a part of it; as it is when that part is not the one we know.

    Args:
        otherwise: What people do without ours.
    """
    if text.count(after) != 1:
        logger.warning("a page of Flower %s is not the one RouteMQ knows: %s", flower.__version__, otherwise)
        return text
    return text.replace(after, after + ours)
