"""A database, and a table of devices."""

import sqlite3
from collections.abc import Set as AbstractSet

database = sqlite3.connect(":memory:")


class Devices:
    def known(self, names: AbstractSet[str]) -> AbstractSet[str]:
        return names


devices = Devices()
