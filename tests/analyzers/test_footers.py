"""Footers of Parquet files say what pyarrow reads in them."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from opjoule.analyzers.trace.footers import footer_of, rows_like


def test_rows_sizes_and_statistics_are_those_that_pyarrow_reads(stored):
    for file in sorted(stored.glob("*.parquet")):
        told, known = footer_of(file), pq.ParquetFile(file).metadata
        assert told.rows == known.num_rows
        assert len(told.groups) == known.num_row_groups
        for place, group in enumerate(told.groups):
            theirs = known.row_group(place)
            assert (group.rows, group.bytes) == (theirs.num_rows, theirs.total_byte_size)
            columns = [theirs.column(n) for n in range(theirs.num_columns)]
            flat = [each for each in columns if "." not in each.path_in_schema]
            assert [each.name for each in group.chunks] == [each.path_in_schema for each in flat]
            for chunk, column in zip(group.chunks, flat, strict=True):
                found = column.statistics
                if found is None:
                    assert (chunk.nulls, chunk.span) == (None, None)
                    continue
                whole = found.has_min_max and type(found.min) is int
                assert chunk.span == ((found.min, found.max) if whole else None)
                assert chunk.nulls == (found.null_count if found.has_null_count else None)


def test_columns_that_another_footer_has_are_passed_over(stored):
    """Whatever footer is given to compare with: what is read is the same."""
    files = sorted(stored.glob("*.parquet"))
    for file in files:
        alone = footer_of(file)
        assert [footer_of(file, footer_of(other)) for other in files] == [alone] * len(files)


def test_rows_are_told_of_files_with_the_same_columns_alone(stored):
    files = sorted(stored.glob("*.parquet"))
    for file in files:
        told = [rows_like(file, footer_of(other)) for other in files]
        rows = pq.ParquetFile(file).metadata.num_rows
        assert told == [rows if other == file else None for other in files]


@pytest.mark.parametrize("size", [0, 8, 100, -9, -1])
def test_what_is_cut_off_has_no_footer(stored, tmp_path, size):
    file = tmp_path / "cut.parquet"
    file.write_bytes((stored / "modules.parquet").read_bytes()[:size])
    with pytest.raises(ValueError, match="no footer"):
        footer_of(file)


def test_numbers_are_as_long_as_they_may_be(tmp_path):
    """A footer of eleven bytes that go on: no number has more than ten."""
    file = tmp_path / "long.parquet"
    file.write_bytes(b"PAR1" + b"\x16" + b"\xff" * 11 + (12).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ValueError, match="too long"):
        footer_of(file)
