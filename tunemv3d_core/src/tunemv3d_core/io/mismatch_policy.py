"""What is done where a checkpoint was saved with something else than is installed: warn, refuse or ignore. Light."""

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
    """The policy: what is given, what the environment says, or "warn".

    Raises:
        TuneMV3DError: neither warn, error nor ignore.
    """
    policy = given or os.environ.get(PROVENANCE) or "warn"
    if policy not in get_args(Policy):
        source = "provenance" if given else PROVENANCE
        raise TuneMV3DError(f"{source}: should be {', '.join(get_args(Policy))}, got '{policy}'")
    return cast(Policy, policy)


def apply_policy(differences: Iterable[str], where: Path, given: str | None = None) -> None:
    """Do about differences what the policy says.

    Args:
        differences: sentences.
        where: the checkpoint.
        given: the policy; default: the environment's.

    Raises:
        CheckpointError: there are differences and the policy is "error".
        TuneMV3DError: there is no such policy.
    """
    policy, told = policy_of(given), [f"{where}: {difference}" for difference in differences]
    if policy == "error" and told:
        raise CheckpointError("\n".join([*told, f"{PROVENANCE}=warn loads it all the same"]))
    if policy == "warn":
        for line in told:
            warnings.warn(line, TuneMV3DWarning, stacklevel=3)
