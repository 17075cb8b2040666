"""Policy for checkpoints that were saved with other versions than are installed: warn, refuse or ignore. Light."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast, get_args

from tunemv3d_core.errors import CheckpointError, TuneMV3DError, TuneMV3DWarning

Policy = Literal["warn", "error", "ignore"]

PROVENANCE = "TUNEMV3D_PROVENANCE"
"""Environment variable that holds the policy where none is given; unset, it is "warn"."""


def policy_of(given: str | None = None) -> Policy:
    """Return the policy: the given one, else the environment's, else "warn".

    Raises:
        TuneMV3DError: neither warn, error nor ignore.
    """
    policy = given or os.environ.get(PROVENANCE) or "warn"
    if policy not in get_args(Policy):
        source = "provenance" if given else PROVENANCE
        raise TuneMV3DError(f"{source}: should be {', '.join(get_args(Policy))}, got '{policy}'")
    return cast(Policy, policy)


def apply_policy(differences: Iterable[str], where: Path, given: str | None = None) -> None:
    """Ignore version mismatches, warn about them or raise on them.

    Args:
        differences: one sentence per mismatch.
        where: the checkpoint, named in messages.
        given: the policy; default: the environment's.

    Raises:
        CheckpointError: there are differences and the policy is "error".
        TuneMV3DError: there is no such policy.
    """
    policy, lines = policy_of(given), [f"{where}: {difference}" for difference in differences]
    if policy == "error" and lines:
        raise CheckpointError("\n".join([*lines, f"set {PROVENANCE}=warn to load it anyway"]))
    if policy == "warn":
        for line in lines:
            warnings.warn(line, TuneMV3DWarning, stacklevel=3)
