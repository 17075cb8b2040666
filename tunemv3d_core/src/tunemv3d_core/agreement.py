"""Do the views and the shape show the same object? What a model that does not know an object gets wrong first."""

from torch import Tensor

DISAGREE = 0.3
"""Intersection over union of silhouettes under which views and shape have little in common; objects that a prior knows
have 0.7 to 0.9."""


def silhouettes_iou(masks: Tensor, seen: Tensor) -> float:
    """Intersection over union of silhouettes, all views taken together; 1 where both are empty.

    Args:
        masks: ``n H W`` in [0, 1], of the views; foreground above 0.5.
        seen: likewise, of the shape.
    """
    one, other = masks > 0.5, seen > 0.5
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def disagreement(iou: float) -> str:
    """Return a sentence on silhouettes that hardly agree, with its page of the documentation; "" where they do."""
    if iou >= DISAGREE:
        return ""
    return (
        f"views and shape hardly agree (IoU of their silhouettes {iou:.2f}): the model probably does not know this "
        "object; see 'Views and shape hardly agree' in docs/troubleshooting.md"
    )
