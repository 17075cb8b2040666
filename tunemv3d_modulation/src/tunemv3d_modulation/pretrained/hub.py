"""The Hugging Face hub: one question for what a repository holds, one download of what is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download


@dataclass(frozen=True)
class HubAccess:
    """How the hub is asked.

    Attributes:
        token: of the account; None takes the one that is logged in.
        local_files_only: take what was downloaded before, and ask nobody.
    """

    token: str | bool | None = None
    local_files_only: bool = False


_access: ContextVar[HubAccess | None] = ContextVar("access", default=None)


@contextmanager
def hub_access(access: HubAccess) -> Iterator[None]:
    """Ask the hub in this way inside. Not an option of specs: a token is nobody else's, and is stored nowhere."""
    before = _access.set(access)
    try:
        yield
    finally:
        _access.reset(before)


def download(name: str, revision: str | None, wanted: Callable[[list[str]], list[str]]) -> Path:
    """Return the local folder of a repository with the files that are wanted of it.

    Args:
        name: the hub id.
        revision: branch, tag or commit; None is the default branch.
        wanted: picks from the repository's file names, ``folder/file``.

    Raises:
        OSError: nothing of that name, neither on the hub nor downloaded before, or the hub cannot be reached.
    """
    access = _access.get() or HubAccess()
    if access.local_files_only or constants.HF_HUB_OFFLINE:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    # Asked once; without a network the libraries would try every file again and again.
    try:
        siblings = HfApi(token=access.token).model_info(name, revision=revision).siblings or []
    except Exception:  # unreachable in a dozen ways: what was downloaded before may do
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    return Path(
        snapshot_download(
            name, revision=revision, allow_patterns=wanted([each.rfilename for each in siblings]), token=access.token
        )
    )
