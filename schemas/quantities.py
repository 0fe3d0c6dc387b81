"""What a machine's terms may count: each quantity, its formula, and what a recording must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Quantity:
    """A quantity that a term prices.

    Attributes:
        name: as a term writes it.
        unit: what one of it is: op, element, byte, event, sample, step or second. Elements and
            bytes have a width, so that they can be priced by the bit or byte.
        source: the rows that it is counted on: calls, layers, effective, neurons, states,
            optimizer, traffic, samples.
        formula: how it is counted.
        needs: what the recording must hold.
        training: it is only there in a machine of scope "training".
        forward: of forward passes alone: in a machine of scope "training" backward passes, which
            have work of that kind too, add nothing to it.
        spikes: a network with twice the spikes has twice of it, where spikes drive the work.
    """

    name: str
    unit: str
    source: str
    formula: str
    needs: str = "shapes alone"
    training: bool = False
    forward: bool = False
    spikes: bool = False

    @property
    def has_width(self) -> bool:
        """Whether it can be priced by the bit or byte."""
        return self.unit in ("element", "byte")


_SPIKES = "statistics `synaptic` or `full`"
_FULL = "statistics `full`"
_NEURONS = "modules that are spiking neurons"
_LAYER = "products of Linear and convolutions"
_FORWARD = f"{_LAYER} in forward passes"

_ALL = (
    Quantity("macs", "op", "calls", "multiply-accumulates: of products with dense inputs, and of "
             "all else that multiplies and adds", _SPIKES),
    Quantity("acs", "op", "calls", "accumulations: of products with spike inputs, and other "
             "additions", _SPIKES, spikes=True),
    Quantity("synops", "op", "calls", "of products with spike inputs: pairs of a spike and an "
             "output element that it meets", _SPIKES, spikes=True),
    Quantity("flops", "op", "calls", "2 for each multiply-accumulate of a dense product, and what "
             "the rules count of other ops"),
    Quantity("dense_macs", "op", "calls", "multiply-accumulates of all products if no operand were "
             "spikes"),
    Quantity("effective_macs", "op", "effective", f"{_FORWARD} with other inputs than spikes: "
             "pairs of a nonzero input and a nonzero weight (NeuroBench)", _SPIKES, forward=True),
    Quantity("effective_acs", "op", "effective", f"{_FORWARD} with inputs of -1, 0 and 1: pairs "
             "of a nonzero input and a nonzero weight (NeuroBench)", _SPIKES, forward=True,
             spikes=True),
    Quantity("weight_reads", "element", "layers", f"{_LAYER}: a spike reads the weights of the "
             "outputs that it meets, a dense input one weight a multiply-accumulate; so does the "
             "output's gradient for the input's; a gradient of weights reads none", _SPIKES,
             spikes=True),
    Quantity("weight_reads_dense", "element", "layers", f"{_LAYER}: one weight for each "
             "multiply-accumulate, whatever the input is; none for a gradient of weights"),
    Quantity("bias_reads", "element", "layers", f"{_LAYER}: one for each output element of a layer "
             "that has a bias; none for gradients"),
    Quantity("activation_reads", "element", "layers", f"{_LAYER}: elements of the input, each "
             "once a call; of the output's gradient for the input's gradient, and of input and "
             "output's gradient for that of weights"),
    Quantity("activation_writes", "element", "layers", f"{_LAYER}: elements of the output; or of "
             "the input's gradient"),
    Quantity("spikes_in", "event", "layers", f"{_FORWARD} with spike inputs: nonzero elements of "
             "the input", _SPIKES, forward=True, spikes=True),
    Quantity("input_events", "event", "layers", "spikes_in, once for each core that holds outputs "
             "of the layer: ceil(outputs of one sample and step / neurons_per_core) cores; one "
             "core where the machine does not tell neurons_per_core", _SPIKES, forward=True,
             spikes=True),
    Quantity("neuron_updates", "op", "neurons", "elements of the outputs of spiking neurons in "
             "forward passes: neurons x samples x time steps", _NEURONS, forward=True),
    Quantity("neuron_spikes", "event", "neurons", "nonzero elements of the outputs of spiking "
             "neurons", f"{_NEURONS}, {_FULL}", spikes=True),
    Quantity("spikes_out", "event", "neurons", "the same as neuron_spikes", f"{_NEURONS}, {_FULL}",
             spikes=True),
    Quantity("state_reads", "element", "states", "elements of a neuron's states, once a time step "
             "of forward passes", f"{_NEURONS}, and their time steps", forward=True),
    Quantity("state_writes", "element", "states", "elements of a neuron's states, once a time step "
             "of forward passes", f"{_NEURONS}, and their time steps", forward=True),
    Quantity("optimizer_updates", "element", "optimizer", "elements of the parameters that an "
             "optimizer's step has a gradient for", "optimizer steps", training=True),
    Quantity("weight_writes", "element", "optimizer", "the same as optimizer_updates: each update "
             "writes a weight", "optimizer steps", training=True),
    Quantity("bytes_read", "byte", "traffic", "bytes of the tensors that ops read, dense, views "
             "left out; of one kind of value with `kind`"),
    Quantity("bytes_written", "byte", "traffic", "bytes of the tensors that ops return, dense, "
             "views left out; of one kind of value with `kind`"),
    Quantity("samples", "sample", "samples", "inferences: the batches of all samples together",
             "a known batch"),
    Quantity("time_steps", "step", "samples", "time steps of every sample: batch x steps",
             "a known batch and known time steps"),
    Quantity("seconds", "second", "samples", "samples x `seconds_per_sample` of the machine; the "
             "only quantity that takes a price in W", "a known batch"),
)  # fmt: skip

QUANTITIES: Mapping[str, Quantity] = MappingProxyType({each.name: each for each in _ALL})
"""The quantities by name, in the order of every list."""

PRODUCTS = ("macs", "acs", "synops", "flops", "dense_macs", "effective_macs", "effective_acs")
"""Quantities that charge a product."""

OF_OPS = ("calls", "layers", "effective", "traffic")
"""Sources whose rows are of an op, so that a filter on ops has a meaning."""
