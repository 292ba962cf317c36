"""A hook of MkDocs: pages of the site that stand outside of docs/, and links that hold here and on GitHub."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
_NAMES = {ROOT / source: page for page, source in PAGES.items()}
_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<path>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"`[^`]+`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to a page; of a file that is none, such as a Dockerfile, the name remains."""
    docs = Path(config.docs_dir)
    folder = ROOT if page.file.src_uri in PAGES else docs

    def link(found: re.Match[str]) -> str:
        target = (folder / found["path"]).resolve()
        if target.is_relative_to(docs) or not target.exists():
            # Of a link that leads nowhere MkDocs tells.
            name = str(target.relative_to(docs)) if target.exists() else found["path"]
        elif target in _NAMES:
            name = _NAMES[target]
        else:
            return found["text"]
        return f"[{found['text']}]({name}{found['anchor'] or ''})"

    # On GitHub a bar ends a cell also within code, unless a backslash is before it; here it would be seen.
    lines = (_CODE.sub(_bare, line) if line.startswith("|") else line for line in markdown.splitlines())
    return _LINK.sub(link, "\n".join(lines))


def _bare(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")
