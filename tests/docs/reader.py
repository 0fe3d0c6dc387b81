"""Does what a document says, in the working directory: `python reader.py DOCUMENT`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from documents import Example, examples, words


def follow(document: Path) -> None:
    """Do every example of a document in order; leave with a message at the first that fails."""
    space: dict[str, object] = {"__name__": "__main__"}
    for example in examples(document.read_text()):
        where = f"{document.name}:{example.line}"
        if example.kind == "save":
            Path(example.name).parent.mkdir(parents=True, exist_ok=True)
            Path(example.name).write_text(example.text)
        elif example.kind == "run":
            exec(compile("\n" * (example.line - 1) + example.text, document.name, "exec"), space)
        else:
            _call(example, where)


def _call(example: Example, where: str) -> None:
    command = [sys.executable, "-m", "opjoule.cli", *words(example.text)[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != example.code:
        sys.exit(
            f"{where}: {example.text}\nleft with {done.returncode}, not {example.code}\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
