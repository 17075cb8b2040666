"""Seeds of what components draw."""

import torch


def seed_all(seed: int) -> None:
    """Seed torch's generators of all devices that are here.

    ``torch.manual_seed`` keeps for every absent kind of device a stack trace of each call, which takes longer than many
    a check.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
