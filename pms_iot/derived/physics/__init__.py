"""Physics: one small file per family of formulas, each with its source."""
