"""Prompts to tokens, as StableDiffusionPipeline and StableDiffusionXLPipeline encode them."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin
from torch import Tensor, nn
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from tunemv3d_core.errors import TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.types import Text


class PromptEncoder(nn.Module):
    """One text encoder (Stable Diffusion 1.x and 2.x: its last states), or two (XL: the states before the last side by
    side, and the second one's projection as the pooled text).

    Args:
        tokenizers: one for each encoder.
        encoders: a ``CLIPTextModel``, for XL with a ``CLIPTextModelWithProjection``.
        zero_empty: encode the empty prompt as zeros, as XL was trained.
    """

    def __init__(self, tokenizers: Sequence[CLIPTokenizer], encoders: Sequence[nn.Module], zero_empty: bool) -> None:
        super().__init__()
        self.tokenizers = list(tokenizers)
        self.encoders = nn.ModuleList(encoders)
        self.zero_empty = zero_empty
        self._warned_of_length = False

    @property
    def channels(self) -> int:
        """Channels of the tokens: d."""
        return sum(encoder.config.hidden_size for encoder in self._encoders())

    @property
    def pooled_channels(self) -> int | None:
        """Channels of the pooled text: d'; None with one encoder."""
        return self._encoders()[-1].config.projection_dim if len(self.encoders) > 1 else None

    @property
    def lengths(self) -> list[int]:
        """Tokens that each encoder takes."""
        pairs = zip(self.tokenizers, self._encoders(), strict=True)
        return [min(words.model_max_length, encoder.config.max_position_embeddings) for words, encoder in pairs]

    @torch.no_grad()
    def forward(self, prompts: list[str], skip: int | None = None) -> Text:
        """Encode prompts to tokens ``b l d``. Longer prompts than the encoders take are cut, with one warning.

        Args:
            prompts: b of them.
            skip: layers to leave out at the encoders' end, beyond what the model leaves out anyway.

        Raises:
            TuneMV3DError: an encoder has not so many layers.
        """
        if not self._warned_of_length and (cut := self.cut_prompts(prompts)):
            self._warned_of_length = True
            warnings.warn(f"{cut[0]} (this is said once)", TuneMV3DWarning, stacklevel=2)
        fewest = min(encoder.config.num_hidden_layers for encoder in self._encoders())
        if skip is not None and not 0 <= skip < fewest:
            raise TuneMV3DError(
                f"clip_skip should be from 0 to {fewest - 1}, below the text encoder's layers, not {skip}"
            )
        if len(self.encoders) == 1:
            return Text(tokens=self._last_states(prompts, skip))
        outputs = [self._outputs(i, prompts, output_hidden_states=True) for i in range(len(self.encoders))]
        states = [o.hidden_states[-2 - (skip or 0)] for o in outputs]
        text = Text(torch.cat(states, dim=-1), pooled=outputs[-1].text_embeds)
        if not self.zero_empty:
            return text
        given = torch.tensor([prompt != "" for prompt in prompts], device=text.tokens.device)
        return text.where(given, text.map(torch.zeros_like))

    def _last_states(self, prompts: list[str], skip: int | None) -> Tensor:
        """Return the only encoder's states after its last layer that is not skipped, and its final norm."""
        if not skip:
            last: Tensor = self._outputs(0, prompts).last_hidden_state
            return last
        encoder = self._encoders()[0]
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        states: Tensor = norm(self._outputs(0, prompts, output_hidden_states=True).hidden_states[-1 - skip])
        return states

    def _outputs(self, index: int, prompts: list[str], **options: Any) -> Any:
        encoder, tokenizer = self._encoders()[index], self.tokenizers[index]
        words = _expanded(prompts, tokenizer)
        encoded = tokenizer(
            words, padding="max_length", max_length=self.lengths[index], truncation=True, return_tensors="pt"
        )
        # An encoder whose layers are offloaded one by one lies nowhere, and takes the tokens where they come from.
        encoded = encoded.to(encoder.device) if encoder.device.type != "meta" else encoded
        # Stable Diffusion was trained on padded prompts without a mask; a text encoder's config may say otherwise.
        masked = len(self.encoders) == 1 and getattr(encoder.config, "use_attention_mask", False)
        mask: Tensor | None = encoded.attention_mask if masked else None
        return encoder(encoded.input_ids, attention_mask=mask, **options)

    def _encoders(self) -> list[Any]:
        return list(self.encoders)

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence for each prompt that is cut, with the words that the encoder does not see."""
        length, tokenizer = min(self.lengths), self.tokenizers[0]
        cut = []
        for ids in tokenizer(_expanded(prompts, tokenizer), verbose=False).input_ids:
            if len(ids) > length:
                # The last token that is kept says that the prompt ends.
                unseen = tokenizer.decode(ids[length - 1 : -1])
                cut.append(f"the text encoder takes {length} tokens; a prompt of {len(ids)} is cut before {unseen!r}")
        return cut


def _expanded(prompts: Sequence[str], tokenizer: CLIPTokenizer) -> list[str]:
    """Write out the words of textual inversions that have several vectors: ``<toy>`` as ``<toy> <toy>_1``."""
    return list(TextualInversionLoaderMixin().maybe_convert_prompt(list(prompts), tokenizer))
