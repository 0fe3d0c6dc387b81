"""Costs and options of the analytical model of Lemaire et al. 2022 (arXiv 2210.13107)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from .base import CostConfig, CostPart, Count, Factor, PicoJoule

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]

INT8_PJ = (0.03, 0.2)
"""8-bit integer addition and multiplication, Horowitz 2014, 45 nm."""


class NeuronOperations(CostPart):
    """What a neuron computes beside its synapses.

    An IF neuron adds once at each spike it gives (the reset), a LIF neuron also multiplies and
    adds once a step (the leak).
    """

    macs_per_step: Factor = 0.0
    acs_per_step: Factor = 0.0
    acs_per_spike: Factor = 1.0


class LemaireConfig(CostConfig):
    """Integer operations, memories and the readings of the authors' published code.

    The fields up to `snn_fifo_capacity_elements` hold for every revision; those after it say
    which revision they belong to. `word_bits = 8` brings the 8-bit energies unless they are
    given; 16 bits keep the 32-bit pair, as the authors' code does.
    """

    e_add_pj: PicoJoule = 0.1
    """An integer addition; 32 bits: Horowitz 2014, 45 nm."""
    e_mul_pj: PicoJoule = 3.1
    """An integer multiplication; a MAC is `e_mul_pj + e_add_pj`."""
    memory_breakpoints: tuple[tuple[Factor, PicoJoule], ...] = (
        (0.0, 0.0),
        (8192.0, 2.5),
        (32768.0, 5.0),
        (1048576.0, 25.0),
    )
    """Piecewise memory cost: four (size in bytes, pJ a byte), linear between, held at both ends."""
    snn_fifo_capacity_elements: Count = 1000
    """Elements of the FIFO that carries spikes from layer to layer."""

    word_bits: Literal[32, 16, 8] = 32
    """Revision source: width of every word."""
    memory: Literal["authors", "piecewise"] = "authors"
    """Revision source: `authors` is `ram_base_pj + ram_slope_pj_per_bit * bits` an access."""
    ram_base_pj: PicoJoule = 13.2
    """Revision source: an access to a memory of size 0 (Qualia 2.6.0)."""
    ram_slope_pj_per_bit: PicoJoule = 1.09e-5
    """Revision source: what each bit of the memory's size adds to an access (Qualia 2.6.0)."""
    bias_additions: Literal["always", "if_bias"] = "always"
    """Revision source: one addition an output (and step) `always`, or only where a bias is."""
    conv_address_every_output: bool = True
    """Revision source: spikes address c_out * kernel weights (Q1); off: kernel (their code)."""
    linear_address_every_spike: bool = True
    """Revision source: each spike addresses n_out weights (Q2); off: rate * n_out (their code)."""
    respect_groups: bool = True
    """Revision source: fan-out and fan-in within the group (Q3); off: as if groups were 1."""
    linear_dense_addressing: Literal["product", "sum"] = "product"
    """Revision source: n_in * n_out additions (authors), or n_in + n_out (Q5 of the docs)."""
    sum_every_element: bool = True
    """Revision source: a sum of feature maps counts every element (Q4); off: the sizes of the
    dimensions added up (their code)."""
    neurons_behind_others: bool = True
    """Revision source: a neuron behind batch norm, pooling or a sum counts for the layer before
    those (Q6); off: only one that takes in what the layer itself made (their code)."""
    hybrid_first_layer: bool = True
    """Revision source: a non-binary input into a spiking layer is one pass of a formal layer that
    skips its zeros; off: a dense pass at every time step."""
    spikes_by_provenance: bool = True
    """Revision source: an input that is all zeros or all ones at every call is spikes only if it
    comes from spikes (Q7); off: by its values alone (their code)."""
    sums_of_spikes: bool = True
    """Revision source: what came out of adding spikes is spikes, as many as its elements add up to
    (a residual connection); off: it is a non-binary input."""

    neurons: dict[str, NeuronOperations] = Field(
        default={
            "IF": NeuronOperations(),
            "LIF": NeuronOperations(macs_per_step=1.0),
            "ParametricLIFNode": NeuronOperations(macs_per_step=1.0),
        }
    )
    """Revision source: operations by kind (IF, LIF) or class name; your own neurons go here. Those
    named by their class hold for revision spikingjelly-2026-08 too."""

    sparse_share: Share = 0.5
    """Revision spikingjelly-2026-08: share of zeros from which a tensor is stored sparsely."""

    @model_validator(mode="wrap")
    @classmethod
    def _bring_energies_of_the_width(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        if not isinstance(data, dict) or data.get("word_bits") != 8:
            return handler(data)
        brought = {"e_add_pj": INT8_PJ[0], "e_mul_pj": INT8_PJ[1]}
        brought = {name: value for name, value in brought.items() if name not in data}
        made = handler({**brought, **data})
        # The width brought them, nobody set them: another width brings others.
        made.model_fields_set.difference_update(brought)
        return made

    @field_validator("memory_breakpoints")
    @classmethod
    def _increase(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        sizes = [size for size, _ in points]
        if len(points) != 4 or sorted(set(sizes)) != sizes:
            raise ValueError("has to be four (bytes, pJ a byte) with strictly increasing sizes")
        return points
