"""Structure `per_weight`: one number of any kind for each weight, in the parameter's shape."""

from obtransfer.curvature.structures.base import Structure

STRUCTURE = Structure("per_weight", {"": ""})
