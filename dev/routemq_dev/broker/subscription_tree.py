"""Who receives a topic: the tree of topic filters and, in it, the share groups."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from routemq_dev.broker.packet_decoding import malformed
from routemq_dev.broker.session_state import Interest, SessionState


class ShareGroup:
    """The members of one share name on one topic filter; each message goes to one of them (MQTT 5, 4.8.2)."""

    def __init__(self) -> None:
        self._members: deque[Interest] = deque()

    def __bool__(self) -> bool:
        return bool(self._members)

    def add(self, member: Interest) -> None:
        """Add a member, in place of what the same session had here."""
        self.remove(member.session)
        self._members.append(member)

    def remove(self, session: SessionState) -> None:
        """Remove a session's membership, if there is one."""
        for member in self._members:
            if member.session is session:
                self._members.remove(member)
                return

    def choose(self) -> Interest:
        """Return whose turn it is: connected members first, and among them those with room."""
        members = self._members
        turn = members[0].session
        if turn.connected and turn.has_room:
            members.rotate(-1)
            return members[-1]
        connected = [member for member in members if member.session.connected] or list(members)
        chosen = next((member for member in connected if member.session.has_room), connected[0])
        members.remove(chosen)
        members.append(chosen)
        return chosen


@dataclass(slots=True, eq=False)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    own: dict[SessionState, Interest] = field(default_factory=dict)
    groups: dict[str, ShareGroup] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.children or self.own or self.groups)


class SubscriptionTree:
    """All subscriptions, by the levels of their topic filters."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, subscription: Interest) -> None:
        """Add a subscription, in place of what the same session had on this filter and share name."""
        node = self._root
        for level in subscription.filter.split("/"):
            node = node.children.setdefault(level, _Node())
        if subscription.share is None:
            node.own[subscription.session] = subscription
        else:
            node.groups.setdefault(subscription.share, ShareGroup()).add(subscription)

    def remove(self, subscription: Interest) -> None:
        """Remove a subscription and the nodes that nothing needs any more."""
        path = [self._root]
        levels = subscription.filter.split("/")
        for level in levels:
            path.append(path[-1].children[level])
        leaf = path[-1]
        if subscription.share is None:
            leaf.own.pop(subscription.session, None)
        else:
            group = leaf.groups[subscription.share]
            group.remove(subscription.session)
            if not group:
                del leaf.groups[subscription.share]
        for parent, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            if not parent.children[level].empty:
                break
            del parent.children[level]

    def group(self, share: str, topic_filter: str) -> ShareGroup | None:
        """Return the share group on this filter, None when it has no members."""
        node: _Node | None = self._root
        for level in topic_filter.split("/"):
            node = node.children.get(level) if node else None
        return node.groups.get(share) if node else None

    def match(self, topic: str, publisher: str) -> list[Interest]:
        """Return the subscriptions that get a message on this topic, one for each share group.

        Args:
            publisher: Conversation id of who published it: No Local keeps the message from its own subscriptions.
        """
        found: list[Interest] = []
        for node in self._matching_nodes(topic):
            found.extend(
                subscription
                for subscription in node.own.values()
                if not (subscription.no_local and subscription.session.client_id == publisher)
            )
            found.extend(group.choose() for group in node.groups.values())
        return found

    def _matching_nodes(self, topic: str) -> Iterator[_Node]:
        level_nodes = [self._root]
        wildcards = not topic.startswith("$")  # a leading wildcard never matches `$…` (MQTT 5, 4.7.2)
        for level in topic.split("/"):
            following = []
            for node in level_nodes:
                children = node.children
                if wildcards:
                    if (rest := children.get("#")) is not None:
                        yield rest
                    if (any_level := children.get("+")) is not None:
                        following.append(any_level)
                if (exact := children.get(level)) is not None:
                    following.append(exact)
            level_nodes = following
            wildcards = True
            if not level_nodes:
                return
        for node in level_nodes:
            yield node
            if (rest := node.children.get("#")) is not None:  # `a/#` matches `a` too
                yield rest


def parse_filter(text: str) -> tuple[str | None, str]:
    """Return share name, None for an ordinary subscription, and topic filter.

    `$share/workers/sensors/+/data` gives `("workers", "sensors/+/data")`.

    Raises:
        ProtocolError: It is not a topic filter (MQTT 5, 4.7.1 and 4.8.2).
    """
    share, topic_filter = None, text
    if text.startswith("$share/"):
        _, share, topic_filter = [*text.split("/", 2), ""][:3]
        if not share or "+" in share or "#" in share:
            raise malformed(f"the share name of {text[:100]!r}")
    levels = topic_filter.split("/")
    wrong = [level for level in levels if len(level) > 1 and ("+" in level or "#" in level)]
    if not topic_filter or wrong or "#" in levels[:-1]:
        raise malformed(f"the topic filter {text[:100]!r}")
    return share, topic_filter


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Return whether a topic filter, without a share name, matches a topic name."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))
