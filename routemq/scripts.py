"""Lua scripts, read from the files beside their Python."""

from importlib import resources


def script_text(package: str, name: str, *, after: str | None = None) -> str:
    """Return the script `name`.lua of a package, for `Redis.register_script`.

    Args:
        after: Another file of the package, whose functions the script uses; it comes first.
    """
    folder = resources.files(package)
    text = (folder / f"{name}.lua").read_text("utf-8")
    if after is None:
        return text
    # Redis reads the flags from the first line alone.
    shebang, _, body = text.partition("\n")
    functions = (folder / f"{after}.lua").read_text("utf-8")
    return f"{shebang}\n{functions}\n{body}"
