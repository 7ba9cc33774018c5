"""A list of what a part gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from interlace.federated.parts import Part

__all__ = ["table"]


def table(part: Part) -> pd.DataFrame:
    """What ``Part.disclosed`` returns."""
    plan, sums, extras = part.plan, part.sums, part.extras
    columns = [*plan.encoding.spec.x_names, plan.parsed.response.name]
    numbers = [*extras.number_sums, *(["offset"] if plan.offset or plan.parsed.offsets else [])]
    n, m = sums.n, len(columns)
    constants = 2 * (m - (part.v.constant is not None)) + sum(
        2 * (c.scale.size - (c.constant is not None)) for c in part.u
    )
    rows: list[tuple[str, str, int, int | None]] = [
        ("model and columns", plan.formula, 1, n),
        ("means and standard deviations", "columns of the model", constants, n),
        ("products of columns", ", ".join(columns), m * (m + 1) // 2, n),
    ]
    if extras.root_of_x is not None:
        rows.append(("products of columns without weights", ", ".join(columns[:-1]), m * (m - 1) // 2, n))
        rows.append(("sum of log weights, rows of weight 0", plan.weights or "", 2, n))
    for f, group in enumerate(plan.groups):
        q, k = sums.sizes[f], sums.own[f].shape[1]
        fewest = int(sums.counts[f].min())
        rows += [
            ("names of levels", group.name, q, fewest),
            ("numbers of rows by level", group.name, q, fewest),
            ("products of its columns by level", group.name, q * k * (k + 1) // 2, fewest),
            ("products with all columns by level", f"{group.name}: {', '.join(columns)}", q * k * m, fewest),
        ]
    if len(plan.groups) > 1:
        rows.append(
            ("levels that occur together", ", ".join(group.name for group in plan.groups), len(sums.meetings), None)
        )
    for (i, j), pairs in sums.pairs.items():
        rows.append(("products by pairs of levels", f"{plan.groups[i].name} x {plan.groups[j].name}", pairs.size, None))
    if numbers:
        rows.append(("sums of predictors", ", ".join(numbers), len(numbers), n))
    if extras.number_values:
        values = sum(map(len, extras.number_values.values()))
        rows.append(("values of predictors with one or two", ", ".join(extras.number_values), values, None))
    for (a, b), seen in extras.together.items():
        if a != b:
            rows.append(("levels of predictors that occur together", f"{a} x {b}", seen.size, None))
    out = pd.DataFrame(rows, columns=["what", "of", "numbers", "rows"])
    return out.astype({"rows": "Int64"})
