"""How logs look; set up by the front doors alone."""

import logging
import sys

from routemq.settings import Settings

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(settings: Settings) -> None:
    """Write this process's log to standard error, at `ROUTEMQ_LOG_LEVEL`."""
    logging.basicConfig(level=settings.log_level, format=_FORMAT, stream=sys.stderr, force=True)
