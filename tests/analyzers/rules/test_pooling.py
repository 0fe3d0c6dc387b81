"""Pooling and interpolation, by hand; adaptive windows against the layer's own arithmetic."""

from __future__ import annotations

import pytest

X = ("self", (2, 3, 6, 6))  # 216 elements
OUT = (2, 3, 3, 3)  # 54


def test_maximum(of_five):
    # 4 elements a window: 3 comparisons each; 216 + 54 elements, 54 indices
    found = of_five("max_pool2d_with_indices", [X], [OUT, ("indices", OUT, "int64")],
                    kernel_size=[2, 2])  # fmt: skip
    assert found == (162, 1080 + 432, 0, 0, 0)
    assert of_five("max_pool2d_with_indices", [X], [OUT], kernel_size=[2])[0] == 162


def test_maximum_backward_moves_gradients(of_five):
    # gradient 54, indices 54 of 8 B, result 216; the input's values are not needed
    operands = [("grad_output", OUT), X, ("indices", OUT, "int64")]
    found = of_five("max_pool2d_with_indices_backward", operands, [X[1]], kernel_size=[2, 2])
    assert found == (0, 216 + 432 + 864, 0, 0, 0)


def test_average(of_five):
    # 3 additions and a division a window
    assert of_five("avg_pool2d", [X], [OUT], kernel_size=[2, 2]) == (216, 1080, 0, 0, 162)
    assert (
        of_five("avg_pool3d", [("self", (2, 4, 4, 4))], [(2, 2, 2, 2)], kernel_size=[2])[0] == 128
    )


def test_average_backward(of_five):
    # 54 divisions; windows of 2x2 do not meet
    operands = [("grad_output", OUT), X]
    found = of_five("avg_pool2d_backward", operands, [X[1]], kernel_size=[2, 2])
    assert found == (54, 4 * (54 + 216), 0, 0, 0)
    # windows of 3x3 do: 54·9 - 216 additions
    found = of_five("avg_pool2d_backward", operands, [X[1]], kernel_size=[3, 3])
    assert found[0] == 54 + 270 and found[4] == 270


@pytest.mark.parametrize("sizes", [(6, 3), (7, 3), (5, 4), (8, 1), (3, 3), (2, 5)])
def test_adaptive_windows_are_those_of_the_layer(of_five, sizes):
    torch = pytest.importorskip("torch")
    n, m = sizes
    # Pooling a ramp of powers shows which elements each output averages: count them by ones.
    taken = 0
    for place in range(n):
        one_hot = torch.zeros(1, 1, n)
        one_hot[0, 0, place] = 1
        pooled = torch.nn.functional.adaptive_avg_pool1d(one_hot, m)
        taken += int((pooled != 0).sum())
    operands = [("self", (2, 3, 4, n))]
    found = of_five("_adaptive_avg_pool2d", operands, [(2, 3, 4, m)], output_size=[4, m])
    # rows of 4 pooled to 4 are windows of one row
    assert found[0] == 2 * 3 * 4 * taken and found[4] == 2 * 3 * 4 * (taken - m)
    found = of_five("adaptive_max_pool2d", operands, [(2, 3, 4, m)], output_size=[4, m])
    assert found[0] == 2 * 3 * 4 * (taken - m)


def test_affine_grid(of_five):
    # 2 grids of 5·5 places of 2 coordinates, each a sum of 3 products; backward each of theta's
    operands = [("theta", (2, 2, 3))]
    found = of_five("affine_grid_generator", operands, [(2, 5, 5, 2)])
    assert found == (600, 48 + 400, 0, 300, 0)
    found = of_five("affine_grid_generator_backward", [("grad", (2, 5, 5, 2))], [(2, 2, 3)])
    assert (found[0], found[3]) == (600, 300)


@pytest.mark.parametrize(
    ("mode", "flops"),
    [
        # 2 coordinates at 4 and 3, 4 weights; 4 products and 3 additions a channel
        (0, 50 * (2 * 7 + 4) + 150 * 7),
        # 2 coordinates at 4, rounded
        (1, 50 * 2 * 5),
    ],
)
def test_grid_sampling(of_five, mode, flops):
    operands = [X, ("grid", (2, 5, 5, 2))]
    found = of_five("grid_sampler_2d", operands, [(2, 3, 5, 5)], interpolation_mode=mode,
                    padding_mode=0, align_corners=False)  # fmt: skip
    assert found[0] == flops


def test_fourier_transforms(of_five):
    # 5·96·log2(8), in rows of 8; real input: half
    operands = [("self", (12, 8))]
    assert of_five("_fft_c2c", operands, [(12, 8)], dim=[1])[0] == 1440
    assert of_five("_fft_r2c", operands, [(12, 5)], dim=[1])[0] == 720
    assert of_five("_fft_c2r", [("self", (12, 5))], [(12, 8)], dim=[1])[0] == 720


def test_distances(of_five):
    # 12 pairs of 5 elements: 5 differences, 5 squares, 4 additions, a root
    operands = [("x1", (4, 5)), ("x2", (3, 5))]
    assert of_five("_cdist_forward", operands, [(4, 3)], p=2.0)[0] == 12 * 15
    assert of_five("_cdist_forward", operands, [(4, 3)], p=1.0)[0] == 12 * 14


def test_interpolation(of_five):
    # an element of a bilinear one: 2·(2 products, an addition), then 2 and 1 across
    found = of_five("upsample_bilinear2d", [X], [(2, 3, 12, 12)], output_size=[12, 12])
    assert found[0] == 864 * 9 and found[3] == 864 * 6
    # nearest copies
    assert of_five("upsample_nearest2d", [X], [(2, 3, 12, 12)])[0] == 0
    # its backward adds 864 gradients up to 216
    operands = [("grad_output", (2, 3, 12, 12))]
    found = of_five("upsample_nearest2d_backward", operands, [X[1]])
    assert found[0] == found[4] == 648
