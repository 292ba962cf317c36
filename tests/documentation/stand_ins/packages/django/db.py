"""Connections of Django's ORM."""


class ConnectionHandler:
    def close_all(self) -> None: ...


connections = ConnectionHandler()


def close_old_connections() -> None: ...
