"""A byte-pair tokenizer in CLIP's format, learned from the captions."""

from collections.abc import Sequence

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

START, END, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"


def train_tokenizer(captions: Sequence[str], vocabulary: int, length: int) -> CLIPTokenizer:
    """Learn merges from captions.

    Every byte is in the vocabulary, alone and at a word's end, so that an unknown word falls into pieces.

    Args:
        captions: the texts; their order does not matter.
        vocabulary: tokens at most, the 512 byte tokens and the two marks included.
        length: tokens of a text with its two marks; longer texts are cut.
    """
    untrained = CLIPTokenizer()
    learner = Tokenizer(BPE(end_of_word_suffix=SUFFIX, continuing_subword_prefix=""))
    learner.normalizer = untrained.backend_tokenizer.normalizer
    learner.pre_tokenizer = untrained.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=SUFFIX, show_progress=False
    )
    learner.train_from_iterator(sorted(captions), trainer)
    model = _model(learner)
    room = vocabulary - 2 * len(alphabet) - 2
    merges = [(left, right) for left, right in model["merges"]][:room]
    tokens = alphabet + [token + SUFFIX for token in alphabet] + [left + right for left, right in merges]
    vocab = {token: k for k, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length)


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return token ids, every row ``model_max_length`` long, as the diffusers pipeline makes them."""
    rows: list[list[int]] = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    ).input_ids
    return rows


def _model(tokenizer: Tokenizer) -> dict[str, list[list[str]]]:
    import json

    content: dict[str, list[list[str]]] = json.loads(tokenizer.to_str())["model"]
    return content
