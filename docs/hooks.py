"""How the repository becomes a site: pages from outside docs/, files that pages name, and the Python reference.

Links on pages are those of the repository, so that pages read the same where they lie; they are turned here.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "docs/index.md": "contents.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
"""Pages of the repository that are not where the site has them."""
NAMES = "docs/reference/public-names.md"
"""The page with the tables of the public names."""
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
CODE = re.compile(r"`[^`\n]+`")
GROUP = re.compile(r"^### (?P<title>.+)\n\n(?P<table>(?:\|.*\n)+)", re.MULTILINE)
MODULE = re.compile(r"^\| `(?P<module>cryocore[\w.]+)` \|(?P<names>.+?)\|", re.MULTILINE)

log = logging.getLogger("mkdocs.hooks")


def public_names() -> dict[str, dict[str, list[str]]]:
    """Names of the public interface by title and module: the tables of docs/reference/public-names.md."""
    return {
        group["title"]: {row["module"]: re.findall(r"`(\w+)`", row["names"]) for row in MODULE.finditer(group["table"])}
        for group in GROUP.finditer((ROOT / NAMES).read_text())
    }


def reference_uri(title: str) -> str:
    """Where the site has a page of the reference."""
    return f"api/{title.lower().replace(' ', '-')}.md"


def reference_page(title: str, modules: dict[str, list[str]]) -> str:
    """A page of the reference, for mkdocstrings to fill."""
    parts = [f"::: {module}\n    options:\n      members: [{', '.join(names)}]\n" for module, names in modules.items()]
    return "\n".join([f"# {title}\n", *parts])


def on_config(config: MkDocsConfig) -> None:
    """Add the pages of the reference to the navigation."""
    part = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    part.append({"Python": [{title: reference_uri(title)} for title in public_names()]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add pages that are no files of docs/."""
    pages = {uri: (ROOT / source).read_text() for source, uri in PAGES.items()}
    pages |= {reference_uri(title): reference_page(title, modules) for title, modules in public_names().items()}
    for path in named_files([(ROOT / source) for source in PAGES] + sorted((ROOT / "docs").rglob("*.md"))):
        pages[shown_at(path)] = f"# {path}\n\n````{Path(path).suffix[1:] or 'text'}\n{(ROOT / path).read_text()}````\n"
    for uri, content in pages.items():
        if there := files.get_file_from_path(uri):
            files.remove(there)
        files.append(File.generated(config, uri, content=content))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links of the repository into links of the site, public modules into links to the reference.

    In code in a table GitHub wants a bar escaped, and here the backslash would show.
    """
    uri = page.file.src_uri
    source = next((s for s, at in PAGES.items() if at == uri), f"docs/{uri}")

    def turned(link: re.Match[str]) -> str:
        path = target(link[0], source)
        at = path and site_uri(path)
        return posixpath.relpath(at, posixpath.dirname(uri) or ".") if at else link[0]

    markdown = CODE.sub(lambda code: code[0].replace("\\|", "|"), LINK.sub(turned, markdown))
    if source == NAMES:
        for title, modules in public_names().items():
            for module in modules:
                at = posixpath.relpath(reference_uri(title), posixpath.dirname(uri))
                markdown = markdown.replace(f"| `{module}` |", f"| [`{module}`]({at}#{module}) |")
    return markdown


def on_page_content(html: str, page: Page, **_: Any) -> None:
    """Warn of public names that the reference lacks; a strict build then fails."""
    shown = next((m for title, m in public_names().items() if reference_uri(title) == page.file.src_uri), {})
    for name in (f"{module}.{name}" for module, names in shown.items() for name in names):
        if f'id="{name}"' not in html:
            log.warning("%s lacks %s", page.file.src_uri, name)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Search on pages that are opened as files needs a script that the theme takes from the network."""
    return output.replace(
        "https://unpkg.com/iframe-worker/shim",
        posixpath.relpath("iframe-worker.js", posixpath.dirname(page.url) or "."),
    )


def target(link: str, source: str) -> str | None:
    """The file of the repository that a link of a page names."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return path if (ROOT / path).is_file() else None


def site_uri(path: str) -> str:
    """Where the site has a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else shown_at(path)


def shown_at(path: str) -> str:
    """The page that shows a file."""
    return f"files/{path.replace('/', '.')}.md"


def named_files(pages: list[Path]) -> list[str]:
    """Files outside docs/ that pages link to and that are no pages."""
    found = set()
    for page in pages:
        source = page.relative_to(ROOT).as_posix()
        found |= {target(link, source) for link in LINK.findall(page.read_text())}
    return sorted(path for path in found if path and path not in PAGES and not path.startswith("docs/"))
