"""As much of Django as the pages use."""


def setup() -> None: ...
