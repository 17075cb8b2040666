"""Licences by name: SPDX identifiers where they are known."""

from collections.abc import Sequence


def matches(licence: str, wanted: Sequence[str]) -> bool:
    """Whether a licence is one of those wanted; case does not matter, nor versions unless they are given."""
    name = licence.lower()
    return any(name == want.lower() or name.rstrip("0123456789.-us") == want.lower() for want in wanted)
