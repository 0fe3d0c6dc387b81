"""Does what a document says, in the working directory: `python reader.py DOCUMENT`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import warm
from documents import Example, examples, tells, words


def follow(document: Path) -> None:
    """Do every example of a document in order; leave with a message at the first that fails."""
    warm.load()
    python = warm.Server(forked=True)  # before an example computes in this process
    space: dict[str, object] = {"__name__": "__main__"}
    told = ""
    for example in examples(document.read_text()):
        where = f"{document.name}:{example.line}"
        if example.kind == "save":
            Path(example.name).parent.mkdir(parents=True, exist_ok=True)
            Path(example.name).write_text(example.text)
        elif example.kind == "run":
            exec(compile("\n" * (example.line - 1) + example.text, document.name, "exec"), space)
        elif example.kind == "told":
            if not tells(told, example.text):
                sys.exit(f"{where}: shown is\n{example.text}\ntold is\n{told}")
        else:
            told = _call(python, example, where)
    python.close()


def _call(python: warm.Server, example: Example, where: str) -> str:
    """Run a command; return what it printed."""
    done = python.run(["-m", "opjoule.cli", *words(example.text)[1:]])
    if done.returncode != example.code:
        sys.exit(
            f"{where}: {example.text}\nleft with {done.returncode}, not {example.code}\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
