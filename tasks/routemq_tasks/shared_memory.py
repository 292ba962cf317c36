"""What a worker does before it forks, so that its children share its memory for long."""

import gc
from typing import Any

from routemq_tasks.application import Application

_COLLECTED_AFTER = 5000
"""So many objects are there once before cycles are looked for: messages in hand are in none, and fill the usual 700."""


def share(app: Any) -> None:
    """Make what children would make anew, and keep their collectors away from it."""
    if isinstance(app, Application):
        app.before_fork()
    # A child's collector would write to each object of its parent's, and with that copy all of these pages.
    gc.collect()
    gc.freeze()
    often, *others = gc.get_threshold()
    if 0 < often < _COLLECTED_AFTER:
        gc.set_threshold(_COLLECTED_AFTER, *others)
