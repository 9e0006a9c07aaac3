"""Scores of masks, for layouts whose publisher states those of its annotating model."""

from __future__ import annotations

from scipy import ndimage

from schemas.masks import Mask

_CROSS = ndimage.generate_binary_structure(2, 1)


def stability(mask_HW: Mask) -> float:
    """Return the IoU of the mask eroded with the mask dilated, by one pixel; 0 if it is empty.

    A segmentation model compares its mask under two thresholds; the effect is the same.
    """
    smaller = ndimage.binary_erosion(mask_HW, _CROSS, border_value=1)
    return _iou(smaller, ndimage.binary_dilation(mask_HW, _CROSS))


def smoothness(mask_HW: Mask) -> float:
    """Return the IoU of the mask with itself without thin details; 0 if it is empty."""
    return _iou(mask_HW, ndimage.binary_opening(mask_HW, _CROSS))


def _iou(one_HW: Mask, other_HW: Mask) -> float:
    union = int((one_HW | other_HW).sum())
    return round(int((one_HW & other_HW).sum()) / union, 6) if union else 0.0
