"""Which module of one trace is which of another: by path, and where paths changed, by kinship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

Path = str
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Tree:
    """The modules of one trace by path.

    Attributes:
        kinds: class without its package.
        shapes: names and shapes of the own parameters.
        below: paths of the children, by path.
    """

    kinds: Mapping[Path, str]
    shapes: Mapping[Path, _Shapes]
    below: Mapping[Path, list[Path]]

    def roots(self) -> list[Path]:
        return [path for path in self.kinds if parent_of(path) not in self.kinds]

    def under(self, path: Path) -> list[Path]:
        """Return the paths under a module, relative to it, all the way down."""
        found: list[Path] = []
        open_ = list(self.below.get(path, ()))
        while open_:
            child = open_.pop()
            found.append(child[len(path) + 1 :])
            open_ += self.below.get(child, ())
        return found


def parent_of(path: Path) -> Path | None:
    """Return the path of the module above; None for a root."""
    return path.rpartition(".")[0] or None


def align(base: pl.DataFrame, head: pl.DataFrame) -> dict[Path, Path]:
    """Find the counterpart of each module.

    Modules of one path are the same module. Of the others, in this order:

    - a root whose class was renamed is the root that shares most paths below it;
    - a module that was moved is the one of the same class that alone ends in the same names (for
      a single name or none but numbers: with parameters of the same shapes);
    - what holds, or is held by, two that are the same, is the same if names or kinds agree.

    Args:
        base: the modules of one trace, as `Trace.modules`, all ranks.
        head: of the other.

    Returns:
        Path in `base` -> path in `head`, one to one; those without a counterpart are not in it.
    """
    matching = _Matching(_tree(base), _tree(head))
    matching.same_paths()
    matching.roots()
    matching.endings()
    while matching.holders() or matching.held():
        pass
    return matching.pairs


def _tree(modules: pl.DataFrame) -> _Tree:
    kinds: dict[Path, str] = {}
    shapes: dict[Path, _Shapes] = {}
    below: dict[Path, list[Path]] = {}
    for path, kind, own in modules.select("path", "class", "parameters").iter_rows():
        if path in kinds:
            continue
        kinds[path] = kind.rpartition(".")[2]
        shapes[path] = tuple((each["name"], tuple(each["shape"] or ())) for each in own or ())
        if parent := parent_of(path):
            below.setdefault(parent, []).append(path)
    return _Tree(kinds, shapes, below)


class _Matching:
    """Pairs found so far; nothing that has a counterpart gets another."""

    def __init__(self, base: _Tree, head: _Tree) -> None:
        self._base, self._head = base, head
        self.pairs: dict[Path, Path] = {}
        self._taken: set[Path] = set()

    def _free(self, base: Path | None, head: Path | None) -> bool:
        known = base in self._base.kinds and head in self._head.kinds
        return known and base not in self.pairs and head not in self._taken

    def _pair(self, base: Path, head: Path) -> bool:
        if not self._free(base, head):
            return False
        self.pairs[base] = head
        self._taken.add(head)
        return True

    def _left(self) -> tuple[list[Path], list[Path]]:
        return (
            [path for path in self._base.kinds if path not in self.pairs],
            [path for path in self._head.kinds if path not in self._taken],
        )

    def same_paths(self) -> None:
        for path in self._base.kinds:
            self._pair(path, path)

    def roots(self) -> None:
        """Pair renamed roots, best agreement first, and what agrees below them."""
        left, right = self._left()
        bases = [path for path in left if parent_of(path) is None]
        heads = [path for path in right if parent_of(path) is None]
        for base, head in self._by_agreement(bases, heads):
            if self._pair(base, head):
                for path in self._base.under(base):
                    self._pair(f"{base}.{path}", f"{head}.{path}")

    def _by_agreement(self, bases: list[Path], heads: list[Path]) -> Iterable[tuple[Path, Path]]:
        holders: dict[Path, list[int]] = {}
        for place, head in enumerate(heads):
            for path in self._head.under(head):
                holders.setdefault(path, []).append(place)
        scores: Counter[tuple[int, int]] = Counter()
        for place, base in enumerate(bases):
            for path in self._base.under(base):
                for other in holders.get(path, ()):
                    kinds = self._base.kinds, self._head.kinds
                    alike = kinds[0][f"{base}.{path}"] == kinds[1][f"{heads[other]}.{path}"]
                    scores[place, other] += 2 if alike else 1
        if len(bases) == len(heads) == 1 and not scores:  # two single layers, or two models of them
            if not self._base.under(bases[0]) and not self._head.under(heads[0]):
                scores[0, 0] = 1
        for base_at, head_at in sorted(scores, key=lambda pair: (-scores[pair], *pair)):
            yield bases[base_at], heads[head_at]

    def endings(self) -> None:
        """Pair moved modules: of one class, alone in ending in the same names; longest first."""
        left, right = self._left()
        deepest = max((path.count(".") + 1 for path in [*left, *right]), default=0)
        for size in range(deepest, 0, -1):
            ours, theirs = (
                self._by_ending(tree, [p for p in paths if p not in done], size)
                for tree, paths, done in (
                    (self._base, left, self.pairs),
                    (self._head, right, self._taken),
                )
            )
            for ending, bases in ours.items():
                heads = theirs.get(ending, [])
                if len(bases) == len(heads) == 1 and self._telling(ending[0], bases[0], heads[0]):
                    self._pair(bases[0], heads[0])

    @staticmethod
    def _by_ending(
        tree: _Tree, paths: Iterable[Path], size: int
    ) -> dict[tuple[tuple[str, ...], str], list[Path]]:
        found: dict[tuple[tuple[str, ...], str], list[Path]] = {}
        for path in paths:
            names = path.split(".")
            if len(names) >= size:
                found.setdefault((tuple(names[-size:]), tree.kinds[path]), []).append(path)
        return found

    def _telling(self, ending: tuple[str, ...], base: Path, head: Path) -> bool:
        named = len(ending) > 1 and not all(name.isdigit() for name in ending)
        shapes = self._base.shapes[base]
        return named or (bool(shapes) and shapes == self._head.shapes[head])

    def holders(self) -> bool:
        """Pair the free parents of paired modules, most children first; tell if any were."""
        votes: Counter[tuple[Path, Path]] = Counter()
        for base, head in self.pairs.items():
            above = parent_of(base), parent_of(head)
            if above[0] and above[1] and self._free(*above):
                votes[above[0], above[1]] += 1
        return any([self._pair(*pair) for pair, _ in votes.most_common()])

    def held(self) -> bool:
        """Pair the free children of paired modules: by name, or if alone of their kind."""
        found = False
        for base, head in list(self.pairs.items()):
            ours = [path for path in self._base.below.get(base, ()) if path not in self.pairs]
            theirs = [path for path in self._head.below.get(head, ()) if path not in self._taken]
            if not ours or not theirs:
                continue
            for path in ours:
                found |= self._pair(path, head + path[len(base) :])
            found |= self._renamed(ours, theirs)
        return found

    def _renamed(self, ours: list[Path], theirs: list[Path]) -> bool:
        kinds: dict[object, tuple[list[Path], list[Path]]] = {}
        for side, (tree, paths) in enumerate(((self._base, ours), (self._head, theirs))):
            for path in paths:
                form = tree.kinds[path], tree.shapes[path], tuple(sorted(tree.under(path)))
                kinds.setdefault(form, ([], []))[side].append(path)
        alone = [pair for pair in kinds.values() if len(pair[0]) == len(pair[1]) == 1]
        return any([self._pair(bases[0], heads[0]) for bases, heads in alone])
