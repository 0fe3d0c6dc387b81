"""Operations on tables: chains of them, and sums of floats that are the same in every run."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import polars as pl

from opjoule.analyzers.frames import added_up, at_once

ANALYZERS = Path(__file__).resolve().parents[2] / "analyzers"

# Of this many rows in this many groups Polars decides anew in each run how it adds them up.
ROWS, GROUPS = 1100, 220


def table() -> pl.DataFrame:
    dice = random.Random(1)
    return pl.DataFrame(
        {
            "key": [f"layer {dice.randrange(GROUPS)}" for _ in range(ROWS)],
            "pj": [dice.random() * 10.0 ** dice.randrange(-6, 3) for _ in range(ROWS)],
        }
    )


def test_floats_are_added_up_alike_in_every_run_and_to_the_last_digit_but_one():
    rows = table()
    exact: dict[str, Fraction] = {}
    for key, value in rows.iter_rows():
        exact[key] = exact.get(key, Fraction(0)) + Fraction(value)
    runs = {
        tuple(rows.group_by("key", maintain_order=True).agg(added_up(pl.col("pj"))).rows())
        for _ in range(30)
    }
    assert len(runs) == 1
    for key, value in runs.pop():
        assert abs(Fraction(value) - exact[key]) <= exact[key] * Fraction(1, 1 << 52)


def test_a_sum_leaves_out_what_is_not_known_and_is_zero_of_nothing():
    rows = pl.DataFrame({"key": ["a", "a", "b"], "pj": [1.5, None, None]})
    found = rows.group_by("key", maintain_order=True).agg(added_up(pl.col("pj")))
    assert found.rows() == [("a", 1.5), ("b", 0.0)]


_PROGRAM = """
import json, sys
import polars as pl
from opjoule.analyzers.frames import added_up
rows = pl.DataFrame(json.load(sys.stdin))
found = rows.group_by("key", maintain_order=True).agg(added_up(pl.col("pj")))
print(pl.thread_pool_size(), found["pj"].to_list())
"""


def test_sums_are_the_same_on_one_thread_and_on_two():
    told = json.dumps(table().to_dict(as_series=False))
    answers = []
    for threads in ("1", "2"):
        environment = {**os.environ, "POLARS_MAX_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=told,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        size, _, sums = done.stdout.partition(" ")
        assert size == threads
        answers.append(sums)
    assert answers[0] == answers[1]


def test_a_chain_gives_what_its_operations_give_one_by_one():
    rows = table()
    chain = rows.lazy().filter(pl.col("pj") > 1).with_columns(double=pl.col("pj") * 2).sort("pj")
    one_by_one = rows.filter(pl.col("pj") > 1).with_columns(double=pl.col("pj") * 2).sort("pj")
    assert at_once(chain).equals(one_by_one)


_NAMES = "energy|energy_pj|twin_pj|grown|time_s|compute_s|memory_s"
_FLOATS = rf'col\([^()]*"(?:{_NAMES})"[^()]*\)\.sum\(\)'


def test_no_group_of_floats_is_added_up_in_parts():
    """In a `select`, which has one group, a plain sum is the same in every run."""
    faults = []
    for file in sorted(ANALYZERS.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for found in re.finditer(_FLOATS, text):
            before = text[: found.start()]
            if before.rfind(".select(") < before.rfind(".agg("):
                faults.append(f"{file.name}: {found.group()}")
    assert not faults
