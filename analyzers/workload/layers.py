"""The modules that energy models charge: weight layers with their geometry, and neurons.

A layer is known by what its class holds (`in_features`, `in_channels` and `kernel_size`: nn.Linear,
nn.Conv*, their subclasses) and by the product that its calls ran with a weight of that size; never
by the name of a parameter. Pruned, weight-normed and parametrized layers are layers; a wrapper
that hands its work to another layer is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ..rules import factors_of
from ..rules.call import parts_of
from ..rules.geometry import Convolution, Matmul, product_of
from ..trace.signatures import SIGNATURE, of_each_signature
from .ran import ran_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

MODULE = ("rank", "module_id")
"""What names a module."""

ID = ("rank", "module_call_id")
"""What names a module call."""

BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32", "complex32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
"""Dtype -> bytes of an element."""

_LAYERS = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "kind": pl.String,
    "in_channels": pl.Int64,
    "out_channels": pl.Int64,
    "groups": pl.Int64,
    "kernel_numel": pl.Int64,
    "strided_taps": pl.Int64,
    "weight_numel": pl.Int64,
    "weight_bytes": pl.Int64,
    "bias_numel": pl.Int64,
    "bias_bytes": pl.Int64,
}

_WEIGHT_PRODUCTS = {
    "slot": pl.Int64,
    "first_numel": pl.Int64,
    "second_numel": pl.Int64,
    "out_numel": pl.Int64,
    "adds": pl.Boolean,
    "pair_macs": pl.Int64,
}

Sizes = tuple[int, int]
"""Elements and bytes of a parameter; (0, 0) if there is none."""


def layers_of(trace: Trace) -> pl.DataFrame:
    """Return the geometry of every Linear, convolution and transposed convolution of a trace.

    Returns:
        `rank`, `module_id`, `module` (path), `kind` (Linear, Conv2d, ConvTranspose1d, ...),
        `in_channels`, `out_channels`, `groups`, `kernel_numel` (Π kernel), `strided_taps`
        (Π⌈kernel/stride⌉), and elements and bytes of weight and bias (0: there is none).
    """
    if "layers" not in trace.facts:
        whole = trace.whole
        products = _products_of_modules(whole)
        first_of = whole.alike["modules"]
        asked = whole.modules.filter(pl.col("rank").is_in(first_of.values()))
        shaped: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        for row in asked.iter_rows(named=True):
            if shape := _shape(row):
                shaped.setdefault(row["rank"], []).append((row, shape))
        rows = []
        for rank, first in sorted(first_of.items()):
            for row, shape in shaped.get(first, ()):
                sizes = _parameters(row, shape, products.get((rank, row["module_id"])))
                if sizes:
                    held = dict(zip(_HELD, (*sizes[0], *sizes[1]), strict=True))
                    rows.append({"rank": rank, **shape, **held})
        trace.facts["layers"] = pl.DataFrame(rows, schema=_LAYERS)
    found: pl.DataFrame = trace.facts["layers"]
    return found


def _shape(module: dict[str, Any]) -> dict[str, Any] | None:
    """Return the geometry that a module's attributes give; None if they are no layer's."""
    a = json.loads(module["attributes"] or "{}")
    kernel: list[int] = []
    stride: list[int] = []
    if "in_features" in a and "out_features" in a:
        kind, c_in, c_out = "Linear", a["in_features"], a["out_features"]
    elif "in_channels" in a and "out_channels" in a and isinstance(a.get("kernel_size"), list):
        kernel = a["kernel_size"]
        kind = f"{'ConvTranspose' if a.get('transposed') else 'Conv'}{len(kernel)}d"
        c_in, c_out, stride = a["in_channels"], a["out_channels"], _each(a.get("stride"), kernel)
    else:
        return None
    if not all(isinstance(size, int) for size in (c_in, c_out, *kernel, *stride)):
        return None
    return {
        "module_id": module["module_id"],
        "module": module["path"],
        "kind": kind,
        "in_channels": c_in,
        "out_channels": c_out,
        "groups": a.get("groups") or 1,
        "kernel_numel": prod(kernel),
        "strided_taps": prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)),
    }


def _each(value: Any, kernel: list[int]) -> list[int]:
    return value if isinstance(value, list) and value else [value or 1] * len(kernel)


def _parameters(
    module: dict[str, Any], shape: dict[str, Any], ran: list[tuple[Sizes, Sizes]] | None
) -> tuple[Sizes, Sizes] | None:
    """Return the sizes of weight and bias; None if the module has none of that geometry.

    The products that ran say it; of a module that ran none, its own parameters.
    """
    elements = shape["in_channels"] * shape["out_channels"] * shape["kernel_numel"]
    elements //= shape["groups"]
    own = [(p["numel"], p["bytes"]) for p in module["parameters"] or () if len(p["shape"]) > 1]
    weights = [weight for weight, _ in ran] if ran else own
    found = next((sizes for sizes in weights if sizes[0] == elements), None)
    if found is None:
        return None
    vectors = [
        (p["numel"], p["bytes"])
        for p in module["parameters"] or ()
        if p["shape"] == [shape["out_channels"]]
    ]
    biases = [bias for weight, bias in ran or () if weight == found and bias[0]]
    return found, next(iter([*biases, *vectors]), (0, 0))


def _products_of_modules(trace: Trace) -> dict[tuple[int, int], list[tuple[Sizes, Sizes]]]:
    """Return sizes of weight and bias of the forward products that ran in (rank, module)."""
    held = of_each_signature(trace, _held, dict.fromkeys(_HELD, pl.Int64))
    sizes = {
        (rank, number): ((weight, weight_bytes), (bias, bias_bytes))
        for rank, number, weight, weight_bytes, bias, bias_bytes in held.rows()
    }
    ran = ran_of(trace).filter(pl.col("stage") == "forward", pl.col("module_id").is_not_null())
    key = [*MODULE, "signature_id"]
    products = ran.join(held, on=SIGNATURE, how="semi").select(key).unique()
    found: dict[tuple[int, int], list[tuple[Sizes, Sizes]]] = {}
    for rank, module, signature in products.sort(key).rows():
        found.setdefault((rank, module), []).append(sizes[rank, signature])
    return found


_HELD = ("weight_numel", "weight_bytes", "bias_numel", "bias_bytes")


def _held(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return elements and bytes of weight and bias of a forward product; None of anything else."""
    one = product_of(row)
    if not isinstance(one, Matmul) and not (isinstance(one, Convolution) and not any(one.wanted)):
        return None
    weight, bias = _sizes(row, one)
    return dict(zip(_HELD, (*weight, *bias), strict=True))


def _sizes(signature: Mapping[str, Any], one: Matmul | Convolution) -> tuple[Sizes, Sizes]:
    """Return elements and bytes of the second factor and of what is added to the product."""
    operands = {o["slot"]: o for o in signature["operands"] if o["role"] == "in"}
    second, added = one.slots[1], one.slots[2]
    weight, bias = operands[second], operands.get(added) if added is not None else None
    each = BYTES.get(weight["dtype"], 0)
    numel = one.second.numel if isinstance(one, Matmul) else one.weight.numel
    if bias is None or len(bias["shape"] or ()) != 1:
        return (numel, numel * each), (0, 0)
    return (numel, numel * each), (bias["numel"], bias["bytes"])


def weight_products(trace: Trace) -> pl.DataFrame:
    """Return the signatures of products of two operands, of which the second may be weights.

    Returns:
        `rank`, `signature_id`, `slot` (input slot of the first factor, a layer's input),
        `first_numel` and `second_numel` (elements of the factors), `out_numel` (of the result),
        `adds` (it adds a third operand, as a bias, to the product) and `pair_macs`
        (multiply-accumulates of two elements that meet: 4 if both are complex).
    """
    if "weight products" not in trace.facts:
        trace.facts["weight products"] = of_each_signature(trace, _weight_product, _WEIGHT_PRODUCTS)
    found: pl.DataFrame = trace.facts["weight products"]
    return found


def _weight_product(row: Mapping[str, Any]) -> dict[str, Any] | None:
    factors = factors_of(row["op"])
    numel = {(o["role"], o["slot"]): o["numel"] for o in row["operands"] or ()}
    parts = {o["slot"]: parts_of(o["dtype"]) for o in row["operands"] or () if o["role"] == "in"}
    second = numel.get(("in", factors[1])) if factors else None
    out = numel.get(("out", 0))
    if not factors or second is None or out is None:
        return None
    adds = sum(role == "in" for role, _ in numel) > 2
    sizes = {
        "first_numel": numel.get(("in", factors[0])), "second_numel": second, "out_numel": out,
    }  # fmt: skip
    pair = parts.get(factors[0], 1) * parts[factors[1]]
    return {"slot": factors[0], **sizes, "adds": adds, "pair_macs": pair}


def neurons_of(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `module_id`, `module` (path), `class` and `neuron` (kind) of neurons."""
    if "neurons" not in trace.facts:
        trace.facts["neurons"] = trace.whole.modules.filter(pl.col("neuron").is_not_null()).select(
            "rank", "module_id", "class", "neuron", module="path"
        )
    found: pl.DataFrame = trace.facts["neurons"]
    return found


def neuron_roots(trace: Trace) -> pl.DataFrame:
    """Return `rank` and `module_id` of neurons, and `root`: the id of the outermost module."""
    tree = trace.modules.select(*MODULE, "parent_id")
    parents = {(rank, module): parent for rank, module, parent in tree.iter_rows()}
    rows = []
    for rank, module in neurons_of(trace).select(MODULE).iter_rows():
        root = module
        while (parent := parents.get((rank, root))) is not None:
            root = parent
        rows.append((rank, module, root))
    schema = {**tree.schema, "root": tree.schema["parent_id"]}
    del schema["parent_id"]
    return pl.DataFrame(rows, schema=schema, orient="row")
