"""Captions and credits."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.views import ObjectViews
from tunemv3d_data.licences import asks_for_credit

CLIP_LENGTH = 77
"""Tokens that CLIP's text encoder takes, its start and end included."""

_TOKENS_A_WORD = 1.35
"""Of CLIP's tokenizer on English captions; the figure is only used where no tokenizer is given."""

_COMMON, _COMMON_FROM = 0.5, 6
"""A caption that more than this share of the objects have says nothing; asked from this many objects on."""


def licence(views: ObjectViews) -> Iterator[Finding]:
    """Every object needs a licence, and a creator where the licence asks for credit."""
    record = views.record
    if not record.licence.strip():
        text, advice = (
            "no licence is stated",
            "run tunemv3d data attributions --state-licence NAME, such as CC-BY-4.0, with --state-creator",
        )
        yield Finding("licence-missing", record.id, text, advice, level="warning")
    elif asks_for_credit(record.licence) and not record.creator.strip():
        text = f"{record.licence} asks for credit, but no creator is stated"
        yield Finding(
            "creator-missing",
            record.id,
            text,
            "name who made it: tunemv3d data attributions --state-creator NAME",
        )


def opted_out(record: PosedImages, listed: OptOut) -> Iterator[Finding]:
    """Nothing should be learned from works whose makers do not want it."""
    if entry := listed.entry_of(record.id, record.creator, record.source):
        advice = "take it out of dataset.json, or train with data.opt_out"
        yield Finding("opted-out", record.id, f"the opt-out list has {entry!r}", advice)


def captions(views: ObjectViews) -> Iterator[Finding]:
    """Every object needs captions, none of them blank."""
    record = views.record
    if not record.captions:
        text, advice = (
            "there is no caption",
            "write some into transforms.json, or run tunemv3d data caption --model MODEL",
        )
        yield Finding("caption-missing", record.id, text, advice)
    elif blank := sum(not caption.strip() for caption in record.captions):
        text, advice = f"{blank} of {len(record.captions)} captions are blank", "write or remove them"
        yield Finding("caption-empty", record.id, text, advice, numbers={"blank": blank})


def too_long(record: PosedImages, tokens: Callable[[str], int], limit: int) -> Iterator[Finding]:
    """The text encoder cuts what is longer than ``limit`` tokens."""
    longest = max(record.captions, key=tokens, default="")
    if (length := tokens(longest)) > limit:
        text = f'a caption has {length} tokens; the text encoder takes {limit} and drops the rest: "{longest[:60]}..."'
        yield Finding("caption-long", record.id, text, "shorten it", numbers={"tokens": length, "limit": limit})


def estimated_tokens(caption: str) -> int:
    """CLIP's tokens in English text, start and end included, to about a tenth."""
    return round(len(caption.split()) * _TOKENS_A_WORD) + 2


def common_captions(records: Sequence[PosedImages]) -> Iterator[Finding]:
    """A caption that most objects share does not tell them apart; two brown chairs are normal."""
    if len(records) < _COMMON_FROM:
        return
    counts = Counter(caption for record in records for caption in set(record.captions) if caption.strip())
    for caption, count in counts.items():
        if count > _COMMON * len(records):
            have = tuple(record.id for record in records if caption in record.captions)
            text = f'{count} of {len(records)} objects have the caption "{caption}"'
            advice = (
                "say what tells them apart (kind, colour, material, form), or run tunemv3d data caption --model MODEL"
            )
            yield Finding("caption-common", "", text, advice, (), {"objects": count}, have, level="warning")


def attribution(root: Path, records: Sequence[PosedImages]) -> Iterator[Finding]:
    """A dataset with licences that ask for credit carries the file that gives it."""
    if (root / "ATTRIBUTION.md").exists():
        return
    credited = tuple(record.id for record in records if asks_for_credit(record.licence))
    if credited:
        text = f"ATTRIBUTION.md is missing, and {len(credited)} objects have licences that ask for credit"
        advice = "run tunemv3d data attributions, which writes it"
        yield Finding("attribution-missing", "", text, advice, numbers={"objects": len(credited)}, others=credited)
