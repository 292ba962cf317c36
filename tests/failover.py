"""Two Redis servers behind one address, of which the second takes over from the first."""

from dataclasses import dataclass

import redis

from tests.gate import Gate
from tests.processes import wait_until
from tests.servers import Redis


@dataclass(kw_only=True)
class Pair:
    """A primary, its replica, and the address that clients know.

    Attributes:
        gate: Leads to the primary until it is told otherwise.
    """

    primary: Redis
    replica: Redis
    gate: Gate

    @classmethod
    def of(cls, primary: Redis, replica: Redis) -> "Pair":
        """Let the second replicate the first."""
        pair = cls(primary=primary, replica=replica, gate=Gate(primary))
        pair.follow()
        pair.gate.open()
        return pair

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.gate.port}/0"

    def follow(self) -> None:
        """Let the replica follow the primary; returns when it has caught up."""
        with self.replica.client() as client:
            client.replicaof(self.primary.host, str(self.primary.port))
        with self.primary.client() as client:
            wait_until(
                lambda: client.info("replication").get("slave0", {}).get("state") == "online",
                message="the replica has caught up",
                ignoring=(redis.ConnectionError,),
            )

    def demote(self) -> None:
        """Hand over: no write is lost, the old primary keeps its connections, and the address leads to it still."""
        with self.primary.client() as client:
            client.execute_command("FAILOVER", "TO", self.replica.host, self.replica.port, "TIMEOUT", 5000)
            wait_until(lambda: client.info("replication")["role"] == "slave", message="the primary is demoted")
        self.primary, self.replica = self.replica, self.primary

    def lead_to_primary(self) -> None:
        """Let new connections reach the one that is the primary now."""
        self.gate.lead_to(self.primary)
