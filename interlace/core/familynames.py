"""Families and their links by name."""

from __future__ import annotations

import re
from difflib import get_close_matches

from interlace.core.families import Binomial, Gamma, Gaussian, InverseGaussian, NegativeBinomial, Poisson
from interlace.core.familybase import Family
from interlace.core.links import Link, link
from interlace.errors import ModelError

__all__ = ["FAMILIES", "family", "link_for"]

_ALIASES = {"inverse_gaussian": "inverse.gaussian", "inversegaussian": "inverse.gaussian", "normal": "gaussian"}

#: Every family without parameters by its name, in lower case.
FAMILIES: dict[str, Family] = {
    one.name.casefold(): one for one in (Binomial(), Poisson(), Gamma(), InverseGaussian(), Gaussian())
}


def family(name: str | Family | type[Family]) -> Family:
    """The family of that name; an object is given back as it is.

    Raises
    ------
    ValueError
        If there is no such family; the message lists those there are.
    TypeError
        If it is neither a name nor a `Family`.
    """
    if isinstance(name, Family):
        return name
    if isinstance(name, type) and issubclass(name, Family):
        if name is NegativeBinomial:
            raise ModelError(_needs_theta("NegativeBinomial"))
        return name()
    if not isinstance(name, str):
        raise TypeError(
            f"family must be a name such as 'binomial', or an object of interlace.families, not {name!r}; "
            "a link is given apart, as link="
        )
    folded = name.strip().casefold()
    found = FAMILIES.get(_ALIASES.get(folded, folded))
    if found is not None:
        return found
    plain = folded.partition("(")[0].strip()
    if plain != folded and plain in FAMILIES:
        raise ModelError(f"write the family as {FAMILIES[plain].name!r} and its link apart, as link=; not {name!r}")
    if re.sub(r"[._ ]", "", plain) in {"negativebinomial", "nb", "nb2", "negbin", "nbinom", "nbinom1", "nbinom2"}:
        raise ModelError(_needs_theta(name))
    if folded.startswith("quasi"):
        raise ModelError(f"the family {name!r} has no likelihood, which a mixed model needs")
    close = get_close_matches(folded, FAMILIES, n=1)
    hint = f"; did you mean {FAMILIES[close[0]].name!r}?" if close else "."
    known = ", ".join(repr(one.name) for one in FAMILIES.values())
    raise ModelError(f"there is no family {name!r}{hint} The families are {known} and NegativeBinomial(theta=...)")


def link_for(family: Family, name: str | Link | None = None) -> Link:
    """The link of a family: its default, the one of that name if the family allows it, or the object itself."""
    found = link(family.default_link if name is None else name)
    if isinstance(name, str) and family.links and found.name not in family.links:
        allowed = ", ".join(map(repr, family.links))
        raise ModelError(f"the family {family.name!r} has no link {found.name!r}. Its links are {allowed}")
    return found


def _needs_theta(name: str) -> str:
    return f"the family {name!r} needs its theta: write NegativeBinomial(theta=...), or estimate it with glmer_nb()"
