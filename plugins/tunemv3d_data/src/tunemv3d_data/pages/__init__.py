"""A dataset as pages that open from disk: a contact sheet, and every object with its cameras in 3D."""
