"""From formulas and data frames to arrays: the only home of narwhals, pandas input and formulaic."""
