"""What a machine covers of a trace, and the words for what it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import TraceError
from ....schemas.costs.machine import Machine, Term
from ....schemas.quantities import PRODUCTS, QUANTITIES
from ....schemas.spelling import meant
from ...text import listed, number
from ...trace.files import collected
from ...trace.filters import parse_filters
from ...workload.account import Account, account_of
from ...workload.inference import passes_left_out, passes_warnings
from ...workload.layer_products import GRADIENT
from ..memory_accesses import free_weights
from ..report import Scope
from .actions import Actions, Asked, Counted, asked_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

_DENSE = ("macs", "flops", "dense_macs", "effective_macs")
_DRIVEN = ("acs", "synops", "flops", "dense_macs", "effective_acs")
_SIZES = ("flops", "dense_macs")
_SPIKES = ("acs", "synops", "effective_acs")


def scope_of(machine: Machine) -> Scope:
    """Return what an estimate of a machine speaks of."""
    head = machine.machine
    training = head.scope == "training"
    return Scope(
        title=head.title or head.name,
        source=head.source,
        stages=("forward", "backward", "optimizer") if training else ("forward",),
        technology=head.technology,
        covers=", ".join(
            _covered(term) for term in machine.term.values() if term.network != "twin"
        ),
        leaves_out=", ".join((*head.leaves_out, "what no term counts")),
    )


def _covered(term: Term) -> str:
    names = " and ".join(term.quantity)
    told = term.name if term.name == names else f"{term.name} ({names})"
    return told if term.of == "all" else f"{told} of {term.of}"


def account(actions: Actions, machine: Machine, counts: Mapping[str, Counted]) -> Account:
    """Return which products the terms charge: those of dense inputs, and those of spikes."""
    rows = actions.tables.of("calls").with_row_index("row")
    products = rows.filter(pl.col("dense_macs").is_null() | (pl.col("dense_macs") > 0))
    hit = {name: pl.Series([], dtype=pl.UInt32) for name in PRODUCTS}
    for term in (machine.term[name] for name in counts):
        for name in set(term.quantity) & set(PRODUCTS):
            fits = actions.fitting(products, "macs", asked_of(term, machine))
            if QUANTITIES[name].source == "effective":
                fits = fits.filter(pl.col("of") == "layers", pl.col(GRADIENT).is_null())
            hit[name] = pl.concat([hit[name], fits["row"]])
    told = products.with_columns(
        dense=_any(hit, _DENSE), driven=_any(hit, _DRIVEN), sized=_any(hit, _SIZES),
        measured=pl.col("macs").is_not_null() & pl.col("acs").is_not_null(),
    )  # fmt: skip
    served = pl.when(pl.col("macs") > 0).then("dense").otherwise("driven")
    charged = pl.col("dense_macs").is_not_null() & (
        pl.when("measured").then(served).otherwise("sized")
    )
    lost = (
        pl.when(pl.col("how") == "uncovered").then("op")
        .when(pl.col("dense_macs").is_null()).then(pl.format("{} (size not known)", "op"))
        .when(~pl.col("measured")).then(pl.format("{} (not measured)", "op"))
        .when(pl.col("macs") > 0).then(pl.format("{}, dense input (no term)", "op"))
        .otherwise(pl.format("{}, spike input (no term)", "op"))
    )  # fmt: skip
    rest = told.filter(~charged).select(
        what=lost, calls="calls", macs="dense_macs", uncovered=pl.col("how") == "uncovered",
        unmeasured=~pl.col("measured") & (pl.col("how") != "uncovered"),
    )  # fmt: skip
    done = int(told.filter(charged)["dense_macs"].sum())
    notes = tuple(_unknown(machine.term[name], found) for name, found in counts.items()
                  if found.unknown and not found.known)  # fmt: skip
    unknown = [machine.term[name].name for name, found in counts.items() if found.unknown]
    passes = _passes(actions, machine)
    return account_of(done, rest, notes, beside=passes, unknown=unknown)


def _passes(actions: Actions, machine: Machine) -> pl.DataFrame:
    """Return the passes whose products are left out: none in scope training."""
    found = passes_left_out(actions.whole, actions.part)
    return found.clear() if machine.machine.scope == "training" else found


def refuse_nothing(trace: Trace, machine: Machine, found: Account) -> None:
    """Refuse a machine that prices spikes alone for products of which none takes spikes.

    Their 0 J would stand beside the energy of a spiking network.

    Raises:
        TraceError: it is one, and all products that ran are dense.
    """
    terms = [term for term in machine.term.values() if set(term.quantity) & set(PRODUCTS)]
    spikes_alone = terms and all(set(term.quantity) <= set(_SPIKES) for term in terms)
    if spikes_alone and found.charges_nothing and not any(term.where for term in terms):
        first = found.left_out.row(0, named=True)
        raise TraceError(
            f"{trace.path}: machine {machine.machine.name} charges none of the products that ran "
            f"({first['what']}, ...): it prices spikes alone. Choose a machine or an estimator "
            "that prices multiply-accumulates too"
        )


def _any(hit: Mapping[str, pl.Series], names: tuple[str, ...]) -> pl.Expr:
    return pl.col("row").is_in(pl.concat([hit[name] for name in names]).implode())


def _unknown(term: Term, found: Counted) -> str:
    """Return that a quantity is not known, and what a recording must hold."""
    needs = listed(list(dict.fromkeys(QUANTITIES[name].needs for name in term.quantity)))
    left = "not in the total" if not found.known else "a lower bound"
    calls = number(found.unknown, "call")
    return f"{term.name} is {left}: {calls} without {' and '.join(term.quantity)} (needs {needs})"


def warnings_of(
    actions: Actions, machine: Machine, counts: Mapping[str, Counted], strict: bool
) -> list[str]:
    """Return what a reader of the figure has to know.

    Raises:
        TraceError: nothing of any term is known; under strict, something is left out.
    """
    unknown = [
        _unknown(machine.term[name], found) for name, found in counts.items() if found.unknown
    ]
    if counts and all(found.unknown and not found.known for found in counts.values()):
        raise TraceError(f"{actions.part.path}: {unknown[0]}")
    passes = passes_warnings(actions.whole, _passes(actions, machine))
    found = [*unknown, *passes, *_uncovered(actions, machine), *_free(actions, machine)]
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    unmatched = _unmatched(actions.part, machine, counts)
    beside = (*_forward_alone(actions, machine), *_states_inside(actions, machine))
    return [*found, *beside, *unmatched]


def _forward_alone(actions: Actions, machine: Machine) -> list[str]:
    """Return one sentence on quantities to which the backward passes that ran add nothing."""
    forward = {each.name for each in QUANTITIES.values() if each.forward}
    terms = [term for term in machine.term.values() if forward & set(term.quantity)]
    if machine.machine.scope != "training" or not terms:
        return []
    ran = actions.tables.of("calls").filter(pl.col(GRADIENT).is_not_null())
    names = [
        name
        for term in terms
        if actions.fitting(ran, "macs", Asked(("macs",), where=term.where)).height
        for name in term.quantity
        if name in forward
    ]
    told = listed(list(dict.fromkeys(names)))
    return (
        [f"{told}: of forward passes alone, without the backward passes that ran"] if told else []
    )


def _states_inside(actions: Actions, machine: Machine) -> list[str]:
    """Return one sentence on states inside calls of neurons, if a term counts bytes of states."""
    terms = [term.name for term in machine.term.values() if term.kind == "neuron_state"]
    if not terms:
        return []
    steps = pl.col("step_mode").cast(pl.String) == "m"
    states = pl.col("state_after").list.len() > 0
    calls = actions.part.module_calls.filter(steps & states).select("rank").head(1)
    if collected(calls, actions.part).is_empty():
        return []
    return [
        f"{listed(terms)}: of a neuron that steps through time inside one call, the states between "
        "its first and its last step are activations: state_reads and state_writes count all steps"
    ]


def _uncovered(actions: Actions, machine: Machine) -> list[str]:
    """Return one sentence on the ops that no rule covers, if a term counts calls."""
    if not any(each.source == "calls" for t in machine.term.values() for each in t.quantities):
        return []
    ops = actions.tables.of("calls").filter(how="uncovered")["op"].unique().sort()
    return [f"no rule covers {', '.join(ops)}: left out"] if len(ops) else []


def _free(actions: Actions, machine: Machine) -> list[str]:
    """Return one sentence on the weights that are read for free, if a term counts such reads."""
    if not any("weight_reads" in term.quantity for term in machine.term.values()):
        return []
    return free_weights(actions.part, actions.tables.of("calls"))


def _unmatched(trace: Trace, machine: Machine, counts: Mapping[str, Counted]) -> Iterator[str]:
    """Yield one sentence on each term that matches nothing of a trace."""
    for name, found in counts.items():
        if found.matched:
            continue
        term = machine.term[name]
        why = " ".join((*term.where, *(() if term.of == "all" else (f"of={term.of}",))))
        yield f"term {name!r} matches nothing of this trace" + (
            f" under {why}{_near(trace, term)}" if why else f": it has no {_holders(term)}"
        )


def _holders(term: Term) -> str:
    source = term.quantities[0].source
    known = {"neurons": "spiking neuron", "states": "spiking neuron with a state",
             "optimizer": "optimizer step", "layers": "layer"}  # fmt: skip
    return known.get(source, "such call")


def _near(trace: Trace, term: Term) -> str:
    """Return the op or the module that a filter may have meant."""
    ops = sorted({*trace.signatures["op"], *trace.signatures["packet"]})
    for each in parse_filters(term.where):
        known = {"op": ops, "module": trace.modules["path"].to_list()}.get(each.field)
        if known is not None:
            near = "".join(meant(value.strip("*"), known) for value in each.values)
            if near:
                return f": {near.strip()}"
    return ""
