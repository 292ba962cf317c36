"""Lua scripts, read from the files beside this one, or beside another package's Python."""

from importlib import resources


def script_text(name: str, *, after: str | None = None, package: str = __package__) -> str:
    """Return the script `name`.lua, for `Redis.register_script`.

    Args:
        after: Another file of the package, whose functions the script uses; it comes first.
        package: Where the files are, when not among those that move a message.
    """
    folder = resources.files(package)
    text = (folder / f"{name}.lua").read_text("utf-8")
    if after is None:
        return text
    # Redis reads the flags from the first line alone.
    shebang, _, body = text.partition("\n")
    functions = (folder / f"{after}.lua").read_text("utf-8")
    return f"{shebang}\n{functions}\n{body}"
