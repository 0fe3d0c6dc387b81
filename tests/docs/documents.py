"""Reading the examples out of the documents, in the order in which a reader meets them.

A fenced block is an example if it is marked

- `python`: it is run, in one namespace with the other such blocks of the document; if its first
  line is a comment that names a file (`# train.py`), it is saved under that name instead;
- `toml` with such a first line: it is saved;
- `console`: its lines that start with `$ opjoule` are run; one that ends in `# exits with 1` is
  to leave with that code, all others with 0;
- `output`: it is what the command before it prints; a line `...` stands for lines left out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")
_CODE = re.compile(r"#\s*exits with (\d+)\s*$")


@dataclass(frozen=True)
class Example:
    """One thing to do: "run" Python, "save" a file, "call" a command, or find what it "told"."""

    kind: str
    line: int
    text: str
    name: str = ""
    code: int = 0


def examples(document: str) -> list[Example]:
    """Return what a document's text asks a reader to do."""
    found = []
    for fence in _FENCE.finditer(document):
        line = document.count("\n", 0, fence.start()) + 2
        language, text = fence.groups()
        named = _NAMED.match(text)
        if language in ("python", "toml") and named:
            found.append(Example("save", line, text, named.group(1)))
        elif language == "python":
            found.append(Example("run", line, text))
        elif language == "console":
            found += _calls(text, line)
        elif language == "output":
            found.append(Example("told", line, text))
    return found


def tells(output: str, shown: str) -> bool:
    """Tell whether an output is what a document shows of it."""
    parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)]
    return re.fullmatch(r"(?:.*\n)*?".join(parts), output) is not None


def _calls(text: str, first: int) -> list[Example]:
    joined = re.sub(r"\\\n>? *", lambda _: "", text)
    calls = []
    for place, line in enumerate(joined.splitlines()):
        if line.startswith("$ opjoule"):
            code = _CODE.search(line)
            calls.append(
                Example("call", first + place, line[2:], code=int(code.group(1)) if code else 0)
            )
    return calls


def words(call: str) -> list[str]:
    """Return the words of a command, without a comment at its end."""
    return shlex.split(call, comments=True)
