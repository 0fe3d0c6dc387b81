"""Limits: what they say, when they hold, and who is named when they do not."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import opjoule as oj
from opjoule.analyzers.checking.limits import limit, limits_of


@pytest.mark.parametrize(
    ("text", "figure", "most", "per_sample", "modules"),
    [
        ("flops=1G", "flops", 10**9, False, None),
        (" flops = 1.5 k ", "flops", 1500, False, None),
        ("macs=0", "macs", 0, False, None),
        ("calls=1e3", "calls", 1000, False, None),
        ("bytes=2MiB/sample", "bytes", 2 << 20, True, None),
        ("energy.lemaire=5 uJ/sample", "energy.lemaire", 5 * 10**6, True, None),
        ("energy.compute=5 \u00b5J", "energy.compute", 5 * 10**6, False, None),  # micro sign
        ("energy.compute=5 \u03bcJ", "energy.compute", 5 * 10**6, False, None),  # Greek letter
        ("energy.compute=.5 / sample @ a.*", "energy.compute", Fraction(1, 2), True, "a.*"),
        ("synops=2M@encoder.*", "synops", 2 * 10**6, False, "encoder.*"),
    ],
)
def test_a_limit_is_read(text, figure, most, per_sample, modules):
    found = limit(text)
    assert (found.figure, found.most) == (figure, most)
    assert (found.per_sample, found.modules) == (per_sample, modules)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid limit"),
        ("flops", "invalid limit"),
        ("flops>1", "invalid limit"),
        ("flops=", "invalid limit"),
        ("flops=-1", "invalid limit"),
        ("flops=inf", "invalid limit"),
        ("flops=1@", "invalid limit"),
        ("flop=1", "no figure 'flop': did you mean flops?"),
        ("energy.lemare=1", "no estimator 'lemare': did you mean lemaire?"),
        ("energy=1", "no figure 'energy'"),
        ("flops=1J", "'J' is not a unit of flops: choose from k, M"),
        ("flops=1g", "'g' is not a unit of flops"),
        ("bytes=1MB", "'MB' is not a unit of bytes"),
        (
            "energy.compute=1k",
            "'k' is not a unit of energy.compute: choose from pJ, nJ, uJ, mJ, J.",
        ),
        ("flops=1/step", "not /step"),
    ],
)
def test_nonsense_is_refused_in_one_line(text, says):
    with pytest.raises(oj.ConfigError) as caught:
        limit(text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_limits_come_as_text_list_or_mapping():
    assert limits_of("flops=1") == limits_of(["flops=1"]) == limits_of({"flops": 1})
    (found,) = limits_of({"synops": "2M@encoder.*"})
    assert (found.most, found.modules) == (2_000_000, "encoder.*")
    for nothing in ([], {}):
        with pytest.raises(oj.ConfigError, match="nothing to check"):
            limits_of(nothing)


@pytest.fixture
def trace(record):
    """Record two layers with a ReLU between them on five rows.

    Sequential.0: 5 x 16 outputs of 8 products and sums and a bias, 5 * 16 * (2 * 8 + 1) = 1360;
    Sequential.1: 5 * 16 = 80; Sequential.2: 5 * 4 * (2 * 16 + 1) = 660; together 2100.
    """
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    ).eval()

    def run():
        with torch.no_grad():
            model(torch.ones(5, 8))

    return oj.open_trace(record(run, model=model))


@pytest.mark.parametrize(
    ("text", "verdict", "value", "module"),
    [
        ("flops=2100", "within", 2100, None),
        ("flops=2099", "over", 2100, None),
        ("flops=420/sample", "within", 420, None),
        ("flops=419.999/sample", "over", 420, None),
        ("flops=1.36k@Sequential.*", "within", 1360, "Sequential.0"),
        ("flops=1359@*", "over", 2100, "Sequential"),
        ("flops=660@2", "within", 660, "Sequential.2"),
        ("flops=131/sample@Sequential.2", "over", 132, "Sequential.2"),
        ("macs=0@1", "within", 0, "Sequential.1"),
        # MACs: 5 * (8 * 16 + 16 * 4) = 960, at 4.6 pJ
        ("energy.compute=4.4nJ", "over", None, None),
        ("energy.compute=1 uJ", "within", None, None),
    ],
)
def test_a_limit_is_compared_exactly(trace, text, verdict, value, module):
    found = oj.check(trace, text)
    (only,) = found.verdicts
    assert (only.verdict, only.module) == (verdict, module)
    assert value is None or only.value == value
    assert found.passed is bool(found) is (verdict == "within")
    assert found.frame["verdict"].to_list() == [verdict]


def test_the_heaviest_modules_are_named(trace):
    found = oj.check(trace, {"flops": "1k/sample", "macs": 959})
    (failure,) = found.failures
    # MACs: 5 * 8 * 16 = 640 and 5 * 16 * 4 = 320
    assert failure.culprits.rows() == [
        ("Sequential.0", 640, 640 / 960),
        ("Sequential.2", 320, 320 / 960),
    ]
    assert failure.line() == "macs=959: 960; most by Sequential.0: 640 (66.7 %), " + (
        "Sequential.2: 320 (33.3 %)"
    )
    assert failure.line() in repr(found) and "1 of 2 limits failed" in repr(found)


def test_modules_over_a_limit_of_their_own_are_named(trace):
    (failure,) = oj.check(trace, "flops=100/sample@Sequential.*").failures
    # 1360 and 660 of five samples
    assert failure.culprits.rows() == [
        ("Sequential.0", 272, 1360 / 2100),
        ("Sequential.2", 132, 660 / 2100),
    ]
    assert "over it are Sequential.0: 272 a sample (64.8 %), Sequential.2: 132" in failure.line()


def test_energies_take_configurations(trace):
    """960 MACs and 100 additions of biases: at 1 pJ a MAC and nothing else 960 pJ, 192 a sample."""
    config = oj.load_config("compute", overrides=["e_mac_pj=1.0", "e_ac_pj=0.0"])
    found = oj.check(trace, "energy.compute=100pJ/sample", energies={"compute": config})
    assert found.verdicts[0].value == 192
    assert found.verdicts[0].culprits["module"][0] == "Sequential.0"
    with pytest.raises(oj.ConfigError, match=r"'compute', but no limit of energy\.compute"):
        oj.check(trace, "flops=1", energies={"compute": config})


def test_filters_and_samples_of_the_user(trace):
    assert oj.check(trace, "flops=660", where="module=2")
    assert oj.check(trace, "flops=210/sample", samples=10)
    assert not oj.check(trace, "flops=209/sample", samples=10)
    with pytest.raises(oj.ConfigError, match="samples=0"):
        oj.check(trace, "flops=1", samples=0)


def test_a_module_that_is_not_there_is_refused(trace):
    with pytest.raises(oj.ConfigError, match=r"fits 'sequental\.0': did you mean Sequential\.0\?"):
        oj.check(trace, "flops=1@sequental.0")


@pytest.fixture
def holed(record, blend):
    """Record a model that calls an op without a rule: its FLOPs are not known."""
    import torch

    class Blended(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.known, self.custom = torch.nn.Linear(8, 16), Custom()

        def forward(self, x):
            return self.custom(self.known(x))

    class Custom(torch.nn.Module):
        def forward(self, x):
            return blend(x, x)

    model = Blended().eval()

    def run():
        with torch.no_grad():
            model(torch.ones(5, 8))

    return oj.open_trace(record(run, model=model))


def test_what_is_unknown_does_not_pass(holed):
    for text in ("flops=1G", "flops=1G@custom", "flops=1G@*", "flops=1G/sample"):
        (failure,) = oj.check(holed, text).failures
        assert failure.verdict == "unknown"
        assert "unknown for calls of mine.blend" in failure.line()
    # 5 * 16 * (2 * 8 + 1) = 1360 are known
    assert "at least 1,360" in oj.check(holed, "flops=1G").failures[0].line()
    assert oj.check(holed, "flops=1360@known")
    assert oj.check(holed, "calls=10")


def test_what_is_unknown_may_be_allowed(holed):
    assert oj.check(holed, "flops=1360", allow_unknown=True)
    assert oj.check(holed, "flops=1359", allow_unknown=True).verdicts[0].verdict == "over"
    assert oj.check(holed, "flops=1359").verdicts[0].verdict == "over"  # whatever is unknown
    # of the custom module nothing is known that could be allowed
    assert not oj.check(holed, "flops=1G@custom", allow_unknown=True)


def test_unknown_samples_do_not_pass(record):
    torch = pytest.importorskip("torch")
    trace = record(lambda: torch.ones(3) + 1)
    assert oj.check(trace, "flops=1k")
    (failure,) = oj.check(trace, "flops=1k/sample").failures
    assert failure.verdict == "unknown" and "--samples N" in failure.line()
    assert oj.check(trace, "flops=1k/sample", samples=1)


def test_hidden_work_does_not_pass(edit):
    hidden = {"what": "Net", "why": "runs compiled", "calls": 2}
    path = edit(hidden=[hidden])
    (failure,) = oj.check(path, "flops=1G").failures
    assert "2 calls of modules ran where the recorder does not see" in failure.line()
    assert oj.check(path, "flops=1G", allow_unknown=True)


def test_modules_that_did_not_run_do_not_pass(trace):
    only = trace.where("module=2")
    (failure,) = oj.check(only, "flops=1G@0").failures
    assert "nothing ran in a module that fits" in failure.line()


def test_plain_data(trace):
    limits = ["flops=1", "macs=1G", "energy.compute=1J"]
    data = json.loads(json.dumps(oj.check(trace, limits).to_dict()))
    assert data["passed"] is False
    assert [each["verdict"] for each in data["limits"]] == ["over", "within", "within"]
    assert data["charged"] == ["compute: 100.0% of the MACs of the products are charged"]
    assert data["warnings"] == []
    assert data["limits"][0]["culprits"][0]["module"] == "Sequential.0"
    assert data["coverage"].startswith("coverage: of ")


def test_a_part_of_a_recording_does_not_pass(edit):
    failure = {"type": "ValueError", "message": "no"}
    part = oj.open_trace(edit(status="aborted", failure=failure), partial=True)
    (failure,) = oj.check(part, "flops=1G").failures
    assert failure.verdict == "unknown" and part.left_out in failure.line()
    assert oj.check(part, "flops=1G", allow_unknown=True)
    assert part.left_out in oj.roofline(part, device="h100").notes
