"""Which ops `torch.utils.flop_counter.FlopCounterMode` has a formula for; all others count 0 there.

What it has none for it runs as the ops that it is made of, where PyTorch says so; a trace has those
too. What is one kernel to PyTorch (attention on CPUs, recurrent layers, vectors) stays without.
"""

from __future__ import annotations

from .rule import aten

FORMULAS = frozenset(
    aten(
        "mm addmm bmm baddbmm _scaled_mm "
        "convolution _convolution cudnn_convolution convolution_overrideable _slow_conv2d_forward "
        "convolution_backward "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_efficient_attention_backward "
        "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_backward "
        "_scaled_dot_product_cudnn_attention _scaled_dot_product_cudnn_attention_backward "
        "_flash_attention_forward _flash_attention_backward "
        "_efficient_attention_forward _efficient_attention_backward"
    )
) | {"flex_attention", "flex_attention_backward"}
"""Their packets, as of PyTorch 2.13."""


def has_formula(op: str) -> bool:
    """Return whether FlopCounterMode has a formula for an op.

    Args:
        op: `aten.mm.default`, or `aten.mm`.
    """
    return op in FORMULAS or op.rpartition(".")[0] in FORMULAS
