"""What an op's schema says of its operands, read once for each op."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

from .derivations import DERIVATIONS

_KEY = torch._C.DispatchKey
_COMPOSITE = _KEY.CompositeImplicitAutograd
# A kernel of a backend's own goes before the composite one.
_BACKENDS = (_KEY.CPU, _KEY.CUDA, _KEY.CompositeExplicitAutograd)

# Ops that write tensors without saying so in their schema: the slots that they write.
# Batch norms in training update running_mean and running_var (slots 3 and 4).
_UNSAID_WRITES: dict[str, tuple[str, ...]] = {
    name: ("running_mean", "running_var")
    for name in (
        "native_batch_norm",
        "cudnn_batch_norm",
        "miopen_batch_norm",
        "_native_batch_norm_legit",
    )
}

# Ops whose written operand is not read: what it held before need not be known.
_ONLY_WRITES = frozenset(
    "copy_ fill_ zero_ normal_ uniform_ bernoulli_ random_ exponential_ geometric_ log_normal_ "
    "cauchy_ set_ resize_ _foreach_zero_ _foreach_copy_ record_stream".split()
)

# How ops carry spikes on from their operands to their result: the first operand's, ...
_CARRIES = {
    base: "first"
    for base in (
        "clone copy_ _to_copy to contiguous max_pool1d max_pool2d max_pool3d "
        "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d "
        "mkldnn_max_pool2d cudnn_max_pool2d index _unsafe_index gather index_select masked_select "
        "take repeat flip roll pixel_shuffle pixel_unshuffle channel_shuffle im2col "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d _unsafe_view _reshape_copy view_copy "
        "expand_copy slice_copy select_copy permute_copy transpose_copy t_copy unfold_copy"
    ).split()
}
# ... only with zeros or ones filled in; of all operands, or of some where the others are zeros or,
# in products, zeros and ones; of sums if they still are zeros and ones; of one minus spikes.
_CARRIES |= dict.fromkeys("constant_pad_nd masked_fill masked_fill_".split(), "filled")
_CARRIES |= dict.fromkeys(
    "cat stack maximum minimum slice_scatter select_scatter".split(), "with_zeros"
)
_CARRIES |= {"where": "chosen", "rsub": "complement"}
_CARRIES |= dict.fromkeys("mul mul_ bitwise_and bitwise_and_".split(), "product")
_CARRIES |= dict.fromkeys("add add_ bitwise_or bitwise_or_".split(), "sum")

# Ops whose result is spikes by nature, whatever its dtype: comparisons and logic in place, draws.
_EVENTS = frozenset(
    "eq_ ne_ lt_ le_ gt_ ge_ logical_and_ logical_or_ logical_xor_ logical_not_ heaviside "
    "heaviside_ bernoulli bernoulli_".split()
)

# Ops reached by functions whose C++ code asks whether a dispatch mode is on, and then takes the
# way that computes vectors too (linalg.svdvals, eigvalsh and eigvals): why their results may
# differ, and which of the op's results are the values.
_ASKED = {
    base: (
        f"torch.linalg.{function} computes the vectors too while recorded: a last bit may differ",
        values,
    )
    for base, function, values in (
        ("_linalg_svd", "svdvals", 1),
        ("_linalg_eigh", "eigvalsh", 0),
        ("linalg_eig", "eigvals", 0),
    )
}

# Ops whose result holds nothing yet.
_HOLLOW = frozenset("empty empty_like new_empty empty_strided new_empty_strided resize_".split())

_SKIPPED = ("record_stream", "_record_function_enter_new")

_PRODUCTS = frozenset("mm addmm bmm baddbmm mv addmv dot vdot _int_mm _scaled_mm".split())
_CONVOLUTIONS = frozenset(
    "convolution _convolution convolution_overrideable mkldnn_convolution cudnn_convolution "
    "cudnn_convolution_transpose miopen_convolution miopen_convolution_transpose "
    "miopen_depthwise_convolution _slow_conv2d_forward slow_conv3d_forward "
    "_conv_depthwise2d conv_depthwise3d slow_conv_transpose2d slow_conv_transpose3d "
    "slow_conv_dilated2d slow_conv_dilated3d".split()
)
_ATTENTION_WORDS = ("attention", "_transformer_encoder_layer_fwd", "flex")
_ADDITIVE = frozenset("add add_ sub sub_ rsub".split())


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor argument of a schema, or one element of a list of them."""

    index: int
    name: str
    is_list: bool
    kwarg_only: bool


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """What is fixed for an op.

    Attributes:
        name: `aten.add.Tensor`.
        skipped: dispatched, but no work of the model: profiler and prim ops.
        composite: dispatch key of the kernel to be run so that its parts are seen: an implicit
            composite one, or SpikingJelly's on the CPU, which inference mode alone dispatches
            whole; None for all others.
        writes: argument names that are written, said or unsaid.
        reads_written: what is written is read first.
        is_view: hands back an alias and writes nothing.
        carries: how it hands on spikes from its operands, see `provenance`; "" if it does not.
        events: its result is spikes by nature.
        synaptic: "product", "convolution", "convolution_backward" or "".
        measured: the `synaptic` level measures its operands.
        unsaid_if_training: what it writes unsaid, it writes only in training.
        hollow: its result holds nothing yet.
        random: its result is drawn at random.
        reads: the first operands whose elements, not shape alone, its results depend on; None: all.
        inexact: why recording may change the kernel that computes it, and which of its results
            are then wanted; or None.
        special: skipped, composite or inexact.
        plan: for each argument of the schema 0, 1 for a tensor, 2 for a list of tensors.
        width: arguments up to the last tensor.
        absent: by number of positional arguments, an ABSENT for each tensor that is missing.
        overwrites: the first operand is written and not read.
        replaces: whatever it writes, it does not read.
        derive: what gives the result's statistics from those of the operands, or None.
        call: what runs it.
    """

    name: str
    packet: str
    skipped: bool
    composite: Any
    slots: tuple[Slot, ...]
    others: tuple[tuple[int, str, bool, Any], ...]
    writes: frozenset[str]
    written_slots: tuple[Slot, ...]
    reads_written: bool
    is_view: bool
    carries: str
    events: bool
    synaptic: str
    measured: bool
    tags: tuple[str, ...]
    result_names: tuple[str, ...]
    unsaid_if_training: bool
    hollow: bool
    random: bool
    reads: int | None
    inexact: tuple[str, int] | None
    special: bool
    plan: tuple[int, ...]
    absent: tuple[tuple[Any, ...], ...]
    width: int
    slot_names: frozenset[str]
    overwrites: bool
    replaces: bool
    derive: Any
    call: Any


ABSENT = (None, None, None)
"""Stands in a list of operands, (value, tensor, layout) each, for one that is not there."""


def _synaptic(base: str) -> str:
    if base in _PRODUCTS:
        return "product"
    if base in _CONVOLUTIONS:
        return "convolution"
    return "convolution_backward" if base == "convolution_backward" else ""


def _reads(base: str, names: list[str]) -> int | None:
    """Return how many operands come before those of which only the shape, or nothing, is taken.

    What a norm adds to its running statistics goes into no result of the same call.
    """
    if base.endswith("_like") or base.startswith("new_"):
        return 0
    return names.index("running_mean") if "running_mean" in names else None


def _composite(func: OpOverload[..., Any]) -> Any:
    """Return the dispatch key of the kernel whose parts are to be seen, or None."""
    try:
        has = func.has_kernel_for_dispatch_key
        if has(_COMPOSITE) and not any(has(key) for key in _BACKENDS):
            return _COMPOSITE
        if func.namespace.startswith("sj_") and has(_KEY.AutogradCPU) and has(_KEY.CPU):
            return _KEY.CPU
    except RuntimeError:
        return None
    return None


@cache
def describe_op(func: OpOverload[..., Any]) -> Op:
    """Read the schema of `func`."""
    schema = func._schema
    base = schema.name.split("::")[1]
    slots: list[Slot] = []
    others: list[tuple[int, str, bool, Any]] = []
    writes = set()
    plan: list[int] = []
    for index, argument in enumerate(schema.arguments):
        kind = str(argument.type)
        is_list = "List[" in kind
        if "Tensor" in kind:
            slots.append(Slot(index, argument.name, is_list, argument.kwarg_only))
            if argument.alias_info is not None and argument.alias_info.is_write:
                writes.add(argument.name)
        else:
            default = argument.default_value if argument.has_default_value() else None
            others.append((index, argument.name, argument.kwarg_only, default))
        plan.append((2 if is_list else 1) if "Tensor" in kind else 0)
    names = {slot.name for slot in slots}
    unsaid = frozenset(n for n in _UNSAID_WRITES.get(base, ()) if n in names and n not in writes)
    all_writes = frozenset(writes) | unsaid
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    reads_written = bool(writes) and base not in _ONLY_WRITES
    reads_written = reads_written and not any(s.kwarg_only for s in slots if s.name in writes)
    synaptic = _synaptic(base)
    packet = ".".join(str(func).split(".")[:2])
    skipped = func.namespace in ("profiler", "prim") or base in _SKIPPED
    composite, inexact = _composite(func), _ASKED.get(base)
    return Op(
        name=str(func),
        packet=packet,
        skipped=skipped,
        composite=composite,
        slots=tuple(slots),
        others=tuple(others),
        writes=all_writes,
        written_slots=tuple(slot for slot in slots if slot.name in all_writes),
        reads_written=reads_written,
        is_view=aliases and not writes,
        carries=_CARRIES.get(base, ""),
        events=base in _EVENTS,
        synaptic=synaptic,
        measured=bool(synaptic) or base in _ADDITIVE or any(w in base for w in _ATTENTION_WORDS),
        tags=tuple(sorted(tag.name for tag in func.tags)),
        result_names=tuple(r.name for r in schema.returns),
        unsaid_if_training=bool(unsaid),
        hollow=base in _HOLLOW,
        random="nondeterministic_seeded" in {tag.name for tag in func.tags},
        reads=_reads(base, [slot.name for slot in slots]),
        inexact=inexact,
        special=skipped or composite is not None or inexact is not None,
        plan=tuple(plan),
        absent=tuple((ABSENT,) * plan[count:].count(1) for count in range(len(plan) + 1)),
        width=max((slot.index + 1 for slot in slots), default=0),
        slot_names=frozenset(names),
        overwrites=bool(slots) and slots[0].name in writes and not reads_written,
        replaces=bool(all_writes) and not reads_written,
        derive=DERIVATIONS.get(packet),
        call=getattr(func, "_op", func),
    )


def other_arguments(op: Op, args: Any, kwargs: Any) -> list[Any]:
    """Return the arguments that are no tensors, in the order of `op.others`, defaults filled in."""
    count = len(args)
    found = []
    for index, name, _, default in op.others:
        a = args[index] if index < count else kwargs.get(name, default)
        if type(a) is list:
            a = tuple(a)
        elif type(a) is torch.Generator:
            a = None
        found.append(a)
    return found


def spelled(thing: Any) -> Any:
    """Return an argument as it tells calls apart; what cannot be hashed in words, never its data.

    A storage, as a checkpoint is loaded into, would print every byte of the weights.
    """
    if isinstance(thing, list | tuple):
        return tuple(map(spelled, thing))
    if isinstance(thing, torch.UntypedStorage):
        return f"storage of {thing.nbytes()} bytes"
    try:
        hash(thing)
    except TypeError:
        return kind_of(thing)
    return thing


def kind_of(thing: Any) -> str:
    """Return the name of the class of a thing."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
