"""A page that shows an AsyncAPI document of ours, in one file, without scripts and without anything from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d0d7de, #3d444d); --soft: light-dark(#f3f5f7, #1b2027); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0; } h2 { margin: 2.5rem 0 .5rem; }
h3 { font: 600 1rem ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .75rem 0 0; }
dt { opacity: .8; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 6px; padding: .75rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; padding: .25rem 0; }
"""
_ACTIONS = {"receive": "Receives", "send": "Sends"}


def page(document: dict[str, Any]) -> str:
    """Return the page; all that a docstring or a name says is text in it."""
    info = document["info"]
    title, version = escape(info["title"]), escape(info["version"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1><p>Version {version}, AsyncAPI "
        f"{document['asyncapi']}{_servers(document)}</p>{''.join(_sections(document))}</main></body></html>\n"
    )


def _servers(document: dict[str, Any]) -> str:
    servers = document.get("servers", {}).values()
    return "".join(f", <code>{escape(server['protocol'])}://{escape(server['host'])}</code>" for server in servers)


def _sections(document: dict[str, Any]) -> Iterator[str]:
    for action, heading in _ACTIONS.items():
        operations = [each for each in document["operations"].values() if each["action"] == action]
        if operations:
            yield f"<h2>{heading}</h2>"
            yield from (_operation(document, each) for each in operations)
    schemas = document["components"].get("schemas")
    if schemas:
        yield "<h2>Schemas</h2>"
        yield from (
            f'<section id="{escape(name)}"><h3>{escape(name)}</h3>{_code(schemas[name])}</section>' for name in schemas
        )


def _operation(document: dict[str, Any], operation: dict[str, Any]) -> str:
    channel = _at(document, operation["channel"])
    facts = [("QoS", str(operation["bindings"]["mqtt"]["qos"]))] if "bindings" in operation else []
    facts += [(f"{{{name}}}", each["description"]) for name, each in channel.get("parameters", {}).items()]
    if "reply" in operation:
        within = _at(document, operation["reply"]["channel"])["address"]
        facts.append(("answer to", within or "the request's response topic"))
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    texts = "".join(f"<p>{escape(operation[name])}</p>" for name in ("summary", "description") if name in operation)
    payloads = "".join(_payload(document, each, "Payload") for each in operation["messages"])
    payloads += "".join(_payload(document, each, "Answer") for each in operation.get("reply", {}).get("messages", ()))
    return f"<section><h3>{escape(channel['address'])}</h3>{texts}<dl>{rows}</dl>{payloads}</section>"


def _payload(document: dict[str, Any], reference: dict[str, str], what: str) -> str:
    message = _at(document, _at(document, reference))
    schema = message["payload"]
    shown = _at(document, schema) if schema.keys() == {"$ref"} else schema
    summary = f"<summary>{what}, {escape(message['contentType'])}</summary>"
    return f"<details open>{summary}{_code(shown)}</details>"


def _at(document: dict[str, Any], reference: dict[str, str]) -> dict[str, Any]:
    found = document
    for name in reference["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def _code(schema: Any) -> str:
    return f'<pre tabindex="0">{escape(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())}</pre>'
