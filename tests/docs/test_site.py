"""The documents as a site: every page has its place, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(text: str) -> str:
    """Return a document's text without its code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: code.group().replace("](", "] ("), text)


def anchor(heading: str) -> str:
    """Return what code hosts and the site make of a heading: lower case, dashes for spaces."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings; a repeated one gets no second meaning."""
    return {anchor(line) for line in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)}


def broken(path: Path, text: str) -> list[str]:
    """Return the links of a document that lead to no file, or to no heading of it."""
    found = []
    for target in LINK.findall(prose(text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, place = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            found.append(target)
        elif place and place not in anchors(text if file == path else file.read_text()):
            found.append(target)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert not broken(path, path.read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_stay_inside_the_site(path):
    """What lies outside docs/ is not on the site."""
    outside = [
        target for target in LINK.findall(prose(path.read_text())) if target.startswith("../")
    ]
    assert not outside


def test_the_check_would_notice():
    page = DOCS / "index.md"
    text = "# A `b`, c\n[x](#a-b-c) [y](#d) [z](none.md) [w](counters.md#nothing)\n`[v](no.md)`\n"
    assert broken(page, text) == ["#d", "none.md", "counters.md#nothing"]


def test_the_navigation_names_every_page_once():
    text = (ROOT / "mkdocs.yml").read_text()
    named = re.findall(r"^ +- .*: (\S+\.md)$", text[text.index("\nnav:") :], re.MULTILINE)
    assert sorted(named) == [str(path.relative_to(DOCS)) for path in PAGES]


def test_the_site_asks_nobody_else():
    """Fonts come from elsewhere unless they are switched off; so would other scripts and styles."""
    text = (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"^  font: false$", text, re.MULTILINE)
    assert not re.search(r"^extra_(javascript|css):|https?://", text, re.MULTILINE)


def test_the_first_page_leads_to_all_others():
    """Or to the page that leads there: those on the estimators."""
    linked = {target.partition("#")[0] for target in LINK.findall((DOCS / "index.md").read_text())}
    linked |= set(LINK.findall((DOCS / "choosing.md").read_text()))
    assert {path.name for path in PAGES} - linked == {"index.md"}
