"""Mixed models of rows that stay where they are: sites share sums, and the pooled fit is that of all rows.

=============================  ========================================================================================
`plan`                         a model as all sites evaluate it; no data
`summarize`                    at each site: the sums of its rows, under a rule of smallest cells
`fit`                          from the sums: the result of all rows together
`at_site`                      back at a site: fitted values and residuals of its rows
`Plan`, `Part`                 what `plan` and `summarize` return, with ``save`` and ``load``
=============================  ========================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlace.lazy import load

if TYPE_CHECKING:
    from interlace.federated.parts import Part
    from interlace.federated.plans import Plan, plan
    from interlace.federated.pooling import fit
    from interlace.federated.sites import at_site, summarize

__all__ = ["Part", "Plan", "at_site", "fit", "plan", "summarize"]

_HOME = {
    "Part": "parts",
    "Plan": "plans",
    "at_site": "sites",
    "fit": "pooling",
    "plan": "plans",
    "summarize": "sites",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    return load(__name__, _HOME, name)
