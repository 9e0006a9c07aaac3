"""The arithmetic of the codecs with parts, on tensors of any device.

``to_…`` gives the parts of rows in their order on disk, ``of_…`` the values again. Suffixes:
B batch, G groups, V values of a group, R components.
"""

from __future__ import annotations

import torch

from schemas.eight_bits import SMALLEST_SPAN
from schemas.float8 import LARGEST_FLOAT8
from schemas.low_rank import PRINCIPAL_ROUNDS

Parts = tuple[torch.Tensor, ...]


def to_even_steps(values_BGV: torch.Tensor) -> Parts:
    """Return steps, lows and codes."""
    low_BG1 = values_BGV.amin(dim=2, keepdim=True) + 0  # zero has no sign
    span_BG1 = _flush(values_BGV.amax(dim=2, keepdim=True) - low_BG1)
    scaled_BGV = (values_BGV - low_BG1).mul_(_inverse(255, span_BG1)).round_()
    return span_BG1 / 255, low_BG1, scaled_BGV.to(torch.uint8)


def of_even_steps(
    step_BG1: torch.Tensor, low_BG1: torch.Tensor, code_BGV: torch.Tensor
) -> torch.Tensor:
    """Return float32 values."""
    return code_BGV.to(torch.float32).mul_(step_BG1).add_(low_BG1)


def to_float8(values_BGV: torch.Tensor) -> Parts:
    """Return scales and codes."""
    peak_BG1 = _flush(torch.maximum(-values_BGV.amin(2, True), values_BGV.amax(2, True)))
    scaled_BGV = values_BGV * _inverse(LARGEST_FLOAT8, peak_BG1)
    codes_BGV = scaled_BGV.to(torch.float8_e4m3fn).view(torch.uint8)
    return peak_BG1 / LARGEST_FLOAT8, codes_BGV


def of_float8(scale_BG1: torch.Tensor, code_BGV: torch.Tensor) -> torch.Tensor:
    """Return float32 values.

    Moves the bits to where float16 has them: ten times faster than torch converts on a CPU.
    float16 has one exponent bit more, and a bias that is larger by 8.
    """
    bits = code_BGV.view(torch.int8).to(torch.int16)
    bits = bits.bitwise_left_shift_(7).bitwise_and_(~(1 << 14))
    return bits.view(torch.float16).to(torch.float32).mul_(scale_BG1 * 2**8)


def to_low_rank(values_BGV: torch.Tensor, rank: int) -> Parts:
    """Return means, steps, lows, bases and codes.

    What they stand for is what the definition gives up to rounding: every device adds up products
    in an order of its own.
    """
    mean_BG1 = values_BGV.mean(dim=2, keepdim=True)
    centred_BGV = values_BGV - mean_BG1
    axes_BGR = _principal_axes(centred_BGV @ centred_BGV.mT, rank)
    scale_B1R = axes_BGR.abs().amax(dim=1, keepdim=True) / 127
    basis_BGR = (axes_BGR / scale_B1R).round_().to(torch.int8)
    step_BR1, low_BR1, code_BRV = to_even_steps(axes_BGR.mT @ centred_BGV)
    scale_BR1 = scale_B1R.mT
    return mean_BG1, step_BR1 * scale_BR1, low_BR1 * scale_BR1, basis_BGR.mT, code_BRV


def _principal_axes(gram_BGG: torch.Tensor, count: int) -> torch.Tensor:
    """See ``schemas.low_rank``; unlike ``eigh`` and ``svd``, ``qr`` waits for no device."""
    device = gram_BGG.device
    generator = torch.Generator(device).manual_seed(0)
    axes_BGR = torch.randn(gram_BGG.shape[1], count, device=device, generator=generator)
    for _ in range(PRINCIPAL_ROUNDS):
        axes_BGR = torch.linalg.qr(gram_BGG @ axes_BGR).Q
    return axes_BGR


def _flush(size: torch.Tensor) -> torch.Tensor:
    """Set sizes that are as good as zero to zero."""
    return torch.where(size < SMALLEST_SPAN, 0, size)


def _inverse(full: float, size: torch.Tensor) -> torch.Tensor:
    """Return ``full / size``, and zero for zero."""
    # Not ``full / size``, which torch computes as a product with the reciprocal.
    return torch.where(size == 0, 0, torch.full_like(size, full) / size)
