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
from opjoule.analyzers.energy import energy
from opjoule.schemas import RuleError


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

    real, asked = files.checked_footer, []
    monkeypatch.setattr(
        files, "checked_footer", lambda *a: asked.append(a[0].parent.name) or real(*a)
    )
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


@pytest.fixture(scope="module")
def spiking_ranks(tmp_path_factory):
    """Return a trace of four ranks: 0 and 2 run one spiking network, 1 and 3 a wider one."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    from opjoule import Recorder

    path = tmp_path_factory.mktemp("spiking") / "ranks"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "4")
        for rank, width in enumerate((4, 6, 4, 6)):
            patch.setenv("RANK", str(rank))
            torch.manual_seed(rank)
            net = torch.nn.Sequential(
                layer.Conv2d(2, width, 3, padding=1), layer.BatchNorm2d(width),
                neuron.IFNode(), layer.Flatten(),
                layer.Linear(width * 64, width), neuron.LIFNode(),
                layer.Linear(width, 3),
            ).eval()  # fmt: skip
            with Recorder(path, model=net, batch_dim=0, time_dim=None) as recorder:
                with torch.no_grad():
                    net(torch.rand(2, 2, 8, 8) + rank)
                functional.reset_net(net)
                recorder.step()
                net.train()(torch.rand(2, 2, 8, 8)).sum().backward()
    return path


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])
@pytest.mark.parametrize("estimator", ["compute", "simple", "lemaire", "neuromc", "spikesim"])
def test_what_ranks_have_in_common_is_charged_for_each(spiking_ranks, estimator, revision):
    """Two ranks have the tables of another one: what is derived of those is theirs too."""
    trace = open_trace(spiking_ranks)
    assert trace.alike["modules"] == {0: 0, 1: 1, 2: 0, 3: 1}
    where = [] if estimator == "neuromc" else ["training=false"]
    whole = energy(trace, estimator, where=where, revision=revision)
    alone = [
        energy(open_trace(spiking_ranks, rank=rank), estimator, where=where, revision=revision)
        for rank in range(4)
    ]
    assert sum(whole.total.values()) > 0
    for name, total in whole.total.items():
        assert total == pytest.approx(sum(each.total[name] for each in alone), rel=1e-12)


@pytest.mark.parametrize("name", ["modules.parquet", "calls-00000.parquet"])
def test_a_rank_is_not_trusted_for_what_another_one_holds(twins, refusal, name):
    file = twins / "rank=00001" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert f"{file} is damaged: its content is not what was recorded" in refusal(twins)
