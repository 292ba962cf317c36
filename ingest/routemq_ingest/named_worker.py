"""An ingest process whose MQTT client id Redis gives."""

import logging
import time

from routemq.routing import Router
from routemq.settings import Settings
from routemq.upstream.mqtt_client import mqtt_ssl_context
from routemq_ingest.name_lease import NameLease
from routemq_ingest.statistics import Health, Statistics
from routemq_ingest.worker import IngestWorker

logger = logging.getLogger(__name__)

_TEND_S = 0.05
_GOODBYE_S = 1.0


class NamedWorker:
    """Waits for a client id, and works under it; under another one when that is somebody else's by now."""

    def __init__(self, settings: Settings, router: Router) -> None:
        mqtt_ssl_context(settings)  # told now, whatever else is to be waited for first
        self._settings, self._router = settings, router
        self._name = NameLease(settings)
        self._worker: IngestWorker | None = None
        self._stopping = False

    @property
    def health(self) -> Health:
        """A snapshot; safe from other threads."""
        worker = self._worker
        if worker is not None:
            return worker.health
        trouble = self._name.trouble or f"it is about to begin as {self._name.client_id}"
        return Health(alive=True, trouble=trouble, pause=None, holds=False, statistics=Statistics())

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler or another thread."""
        self._stopping = True
        if self._worker is not None:
            self._worker.stop()

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            ConfigurationError: As `IngestWorker.run`.
            RouteError: Likewise.
        """
        left_nothing = False
        try:
            while not self._stopping:
                self._name.tend()
                if self._name.is_sure:
                    left_nothing = self._work()
                else:
                    time.sleep(_TEND_S)
        finally:
            self._name.release(left_nothing=left_nothing, timeout_s=_GOODBYE_S)

    def _work(self) -> bool:
        """Work for as long as the name is this process's; return whether nothing is left of it at the MQTT broker."""
        worker = self._worker = IngestWorker(self._settings, self._router, name=self._name)
        if self._stopping:
            worker.stop()
        worker.run()
        self._worker = None
        if not self._stopping:
            logger.warning(
                "another process may have had this one's mqtt client id, going on as %s", self._name.client_id
            )
        return worker.left_nothing
