"""Several ranks: one of them, all of them, and what happens when they do not fit together."""

from __future__ import annotations

import json
import shutil
from hashlib import blake2b

import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.schemas import PART_TABLES, RuleError, TraceError


@pytest.fixture
def ranks(tmp_path, monkeypatch, record, blend):
    """Return a function that records some ranks of a run, each with work of its own."""
    torch = pytest.importorskip("torch")

    def write(*numbers, world=3, path=tmp_path / "ranks"):
        for number in numbers:
            monkeypatch.setenv("RANK", str(number))
            monkeypatch.setenv("WORLD_SIZE", str(world))
            layer = torch.nn.Linear(4, number + 1)
            x, y = torch.rand(2, 5, 4)

            @torch.no_grad()
            def run():
                layer(blend(x, y) if number == 1 else x)  # noqa: B023  (it runs at once)

            record(run, model=layer, path=path)
        monkeypatch.delenv("RANK")
        monkeypatch.delenv("WORLD_SIZE")
        return path

    return write


def linear_flops(rank):
    """Return the FLOPs of rank n's layer: 5x4 by 4x(n+1), and the bias added."""
    return 2 * 5 * 4 * (rank + 1) + 5 * (rank + 1)


def test_ranks_add_up(ranks):
    path = ranks(2, 0, 1)
    assert sorted(p.name for p in path.iterdir()) == [
        "rank=00000",
        "rank=00001",
        "rank=00002",
        "run.json",
    ]
    trace = open_trace(path)
    assert [m.rank for m in trace.manifests] == [0, 1, 2]
    assert trace.manifest.world_size == 3
    by_rank = count(trace, by="rank", where="op=aten.addmm").frame
    assert by_rank["flops"].to_list() == [linear_flops(rank) for rank in range(3)]
    whole = count(trace)
    alone = [count(open_trace(path, rank=rank)) for rank in range(3)]
    for counter, total in whole.total.items():
        assert total == sum(each.total[counter] for each in alone)
    assert count(trace, where="rank=0,2").total["flops"] == sum(
        alone[rank].total["flops"] for rank in (0, 2)
    )
    # One path in every rank: one row, of all ranks.
    module = count(trace, by="module").frame.filter(module="Linear")
    assert module["flops"].to_list() == [sum(linear_flops(rank) for rank in range(3))]


def test_one_rank(ranks, refusal):
    path = ranks(0, 1, 2)
    assert open_trace(path, rank=1).calls.collect()["rank"].unique().to_list() == [1]
    assert open_trace(path / "rank=00001").manifest.rank == 1
    assert refusal(path, rank=7) == f"{path} has no rank 7; it has 0, 1, 2."
    single = path / "rank=00001"
    assert refusal(single, rank=2) == f"{single} has no rank 2; it is of rank 1."


def test_a_rank_that_is_missing(ranks, refusal):
    path = ranks(0, 2)
    assert refusal(path) == (
        f"{path} is incomplete: of 3 ranks, rank 1 are missing. "
        "What was recorded can be read with --partial (partial=True)."
    )
    assert count(open_trace(path, partial=True), where="op=aten.addmm").total["flops"] == (
        linear_flops(0) + linear_flops(2)
    )
    assert open_trace(path, rank=2).manifest.rank == 2


def test_many_ranks_that_are_missing(ranks, refusal):
    path = ranks(0, world=1_000_000_000)
    assert "of 1000000000 ranks, ranks 1, 2, 3, 4, 5 and 999999994 more are missing" in refusal(
        path
    )


def test_ranks_of_different_runs(ranks, refusal):
    """A run of four was recorded where a run of two had left its ranks."""
    path = ranks(0, 1, world=2)
    ranks(2, 3, world=4, path=path)
    for partial in (False, True):
        assert "holds ranks of different runs: world sizes 2, 4" in refusal(path, partial=partial)


def test_a_rank_in_the_wrong_place(ranks, refusal):
    path = ranks(0, 1, world=2)
    (path / "rank=00001").rename(path / "rank=00003")
    assert refusal(path) == f"{path}: the directory of rank 3 holds rank 1."
    shutil.copytree(path / "rank=00000", path / "rank=0")
    assert refusal(path) == f"{path}: rank=0 and rank=00000 are both rank 0."


def test_a_killed_rank(ranks, refusal):
    path = ranks(0, 1, world=2)
    (path / "rank=00001" / "trace.json").rename(path / "rank=00001" / "recording.json")
    assert f"{path / 'rank=00001'} was never finished" in refusal(path)
    opened = open_trace(path, partial=True)
    assert [m.status for m in opened.manifests] == ["complete", "unfinished"]
    assert count(opened, where="op=aten.addmm").total["flops"] == linear_flops(0) + linear_flops(1)


def test_plain_readers_take_the_ranks_as_a_partition(ranks):
    path = ranks(0, 1, world=2)
    files = [str(f) for f in sorted(path.glob("rank=*/calls-*.parquet"))]
    table = pyarrow.dataset.dataset(files, partitioning="hive", partition_base_dir=str(path))
    found = table.to_table(columns=["rank", "seq"]).group_by("rank").aggregate([("seq", "count")])
    assert found.to_pydict() == {
        "rank": [0, 1],
        "seq_count": [m.rows["calls"] for m in open_trace(path).manifests],
    }


def test_the_first_module_of_an_uncovered_op_is_that_of_its_own_rank(ranks):
    """Signatures are numbered in a rank: that of mine.blend in rank 1 is another op's in rank 0."""
    trace = open_trace(ranks(0, 1, world=2))
    numbers = trace.signatures.filter(op="mine.blend.default")["signature_id"].to_list()
    others = trace.signatures.filter(rank=0, signature_id=numbers[0])["op"].to_list()
    assert others and others != ["mine.blend.default"]
    with pytest.raises(RuleError, match=r"mine.blend.default: .*1 call, first outside"):
        count(trace, strict=True)


@pytest.fixture
def twins(tmp_path, stored):
    """Return a trace of two ranks that hold the same."""
    path = tmp_path / "twins"
    for rank in (0, 1):
        shutil.copytree(stored, path / f"rank={rank:05d}")
        manifest = path / f"rank={rank:05d}" / "trace.json"
        told = json.loads(manifest.read_text()) | {"rank": rank, "world_size": 2}
        manifest.write_text(json.dumps(told))
    return path


def test_what_ranks_have_in_common_is_checked_once(twins, monkeypatch):
    from opjoule.analyzers.trace import files

    real, asked = files._footer, []
    monkeypatch.setattr(files, "_footer", lambda *a: asked.append(a[0].parent.name) or real(*a))
    trace = open_trace(twins)
    assert asked == ["rank=00000"] * 7
    assert trace.calls.collect().height == 2 * open_trace(twins, rank=1).calls.collect().height


def test_the_columns_of_every_part_are_checked(twins, refusal):
    """The second rank's part is another one, so its columns are its own."""
    folder = twins / "rank=00001"
    file = folder / "calls-00000.parquet"
    rows = pq.read_table(file)
    pq.write_table(rows.rename_columns({"in0_value": "in9_value"}), file)
    told = json.loads((folder / "trace.json").read_text())
    content = file.read_bytes()
    sums = "blake2b:" + blake2b(content, digest_size=16).hexdigest()
    for part in told["parts"]:
        if part["name"] == file.name:
            part |= {"bytes": len(content), "checksum": sums}
    (folder / "trace.json").write_text(json.dumps(told))
    assert f"{file} is not a part of calls: column in0_value is missing" in refusal(twins)


def test_static_tables_that_ranks_have_in_common_are_there_for_each(twins):
    trace = open_trace(twins)
    for name in ("signatures", "modules", "optimizer_steps"):
        alone = [getattr(open_trace(twins, rank=rank), name) for rank in (0, 1)]
        assert getattr(trace, name).equals(pl.concat(alone))


def test_many_small_parts_are_read_once(twins, monkeypatch):
    by_file = open_trace(twins)
    monkeypatch.setattr("opjoule.analyzers.trace.files._MANY_PARTS", 2)
    held = open_trace(twins)
    for name in PART_TABLES:
        assert getattr(held, name).collect().equals(getattr(by_file, name).collect())
    assert count(held, strict=False).to_dict() == count(by_file, strict=False).to_dict()
    (twins / "rank=00001" / "calls-00000.parquet").unlink()
    assert held.calls.filter(pl.col("rank") == 1).collect().height > 0
    with pytest.raises(TraceError, match="was replaced while it was read"):
        count(held)


@pytest.mark.parametrize("name", ["modules.parquet", "calls-00000.parquet"])
def test_a_rank_is_not_trusted_for_what_another_one_holds(twins, refusal, name):
    file = twins / "rank=00001" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert f"{file} is damaged: its content is not what was recorded" in refusal(twins)
