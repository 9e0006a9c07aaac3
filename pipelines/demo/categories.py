"""Categories of the demo's annotations."""

from __future__ import annotations

CATEGORIES = {
    "person": (1, "person"),
    "motorcycle": (4, "vehicle"),
    "bench": (15, "outdoor"),
    "cat": (17, "animal"),
    "cup": (47, "kitchen"),
    "spoon": (50, "kitchen"),
    "camera": (201, "electronic"),
    "cardboard box": (202, "indoor"),
    "coffee": (203, "food"),
    "coin": (204, "accessory"),
    "eye": (205, "animal"),
    "flag": (206, "outdoor"),
    "flower": (207, "plant"),
    "helmet": (208, "accessory"),
    "pagoda": (209, "building"),
    "rocket": (210, "vehicle"),
    "saucer": (211, "kitchen"),
    "tower": (212, "building"),
    "tree": (213, "plant"),
    "tripod": (214, "electronic"),
}
"""Id and supercategory by name. Ids up to 90 are COCO's own; those above 200 are the demo's."""
