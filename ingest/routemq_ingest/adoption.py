"""The MQTT sessions that processes left behind, where client ids are given by Redis: they are emptied and ended."""

import logging
from collections.abc import Callable

from routemq.settings import Settings
from routemq_ingest.group import Group
from routemq_ingest.name_lease import NameLease
from routemq_ingest.session import Session

logger = logging.getLogger(__name__)


class Adoption:
    """Takes them over, one after the other, as a drain of the process that is gone would have done.

    It leaves the share group in its name, takes what the broker has for it, and ends the session. Until then its client
    id is held, as one's own is; should this process end, another goes on.

    Args:
        name: This process's own, which knows what is left behind.
        make_session: Makes the session of a client id.

    Attributes:
        session: The one that is emptied now.
        losses: How many of them the broker had no more, of those before.
    """

    def __init__(
        self, settings: Settings, name: NameLease, *, make_session: Callable[..., Session], group: Group
    ) -> None:
        self._settings, self._name, self._make_session, self._group = settings, name, make_session, group
        self._lease: NameLease | None = None
        self.session: Session | None = None
        self.losses = 0

    def tend(self, *, may_read: Callable[[Session], bool]) -> None:
        """Go on."""
        lease, session = self._lease, self.session
        if lease is None:
            if self._name.is_sure and (left := self._name.take_left_behind()):
                self._lease = NameLease(self._settings, adopts=left)
            return
        lease.tend()
        if lease.number is None or lease.given > 1:  # another process has it, or had it meanwhile
            self._drop(lease, left_nothing=False)
        elif lease.given == 0:
            return
        elif session is None:
            logger.info("taking over the mqtt session that another process left behind client_id=%s", lease.client_id)
            session = self.session = self._make_session(client_id=lease.client_id)
            session.filters.want((), leaving=True)
        elif session.is_idle:
            self._group.forget(session.client_id)
            self._drop(lease, left_nothing=True)
        elif lease.is_sure or session.connection is not None:
            session.tend(reading=may_read(session))

    def close(self) -> None:
        """Leave the rest to another process."""
        if self._lease is not None:
            self._drop(self._lease, left_nothing=False)

    def _drop(self, lease: NameLease, *, left_nothing: bool) -> None:
        session, self.session, self._lease = self.session, None, None
        if session is not None:
            self.losses += session.filters.losses
            session.close()
        lease.release(left_nothing=left_nothing)
