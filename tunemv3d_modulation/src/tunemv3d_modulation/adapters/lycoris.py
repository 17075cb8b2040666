"""LoHa, LoKr and LoRA convolutions with a middle, written as LoRA of the same product, exactly.

A change of a weight, flattened to ``out x (in k k)``, is ``up @ down`` in all of them:

- LoHa: ``(a1 b1) * (a2 b2)``, the product of entries, is the row-wise Kronecker product of a1 and a2 times the
  column-wise one of b1 and b2: rank r^2.
- LoKr: ``kron(w1, u v) = kron(w1, u) kron(I, v)``: rank i1 r.

Formulas and names: Yeh et al., Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation,
ICLR 2024, and its library.
"""

import torch
from torch import Tensor

LOHA, LOKR, MIDDLE = ".hada_w1_a", ".lokr_", ".lora_mid.weight"


def is_lycoris(name: str) -> bool:
    """Tell whether a tensor's name is one of a LoHa, a LoKr or a middle."""
    return ".hada_" in name or LOKR in name or name.endswith(MIDDLE)


def as_lora(tensors: dict[str, Tensor], scale: float | None = None) -> dict[str, Tensor]:
    """Return the tensors with every LoHa, LoKr and middle as a LoRA; the others stay.

    Args:
        tensors: by name: a module's name, a dot and the name within it.
        scale: factor on every change, of PEFT's files; None takes alpha over rank of each, as LyCORIS writes it.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        # Modules' names have no dots in kohya's files, but in PEFT's; the part after the last known word may have.
        place = next((p for word in ("hada_", "lokr_", "lora_", "alpha") if (p := name.find(f".{word}")) >= 0), -1)
        modules.setdefault(name[:place] if place >= 0 else name, {})[name[place + 1 :] if place >= 0 else ""] = tensor
    result: dict[str, Tensor] = {}
    for module, own in modules.items():
        if not any(is_lycoris(f".{name}") for name in own):
            result |= {f"{module}.{name}" if name else module: tensor for name, tensor in own.items()}
            continue
        up, down, rank = _factors({name: tensor.float() for name, tensor in own.items() if tensor.is_floating_point()})
        alpha = float(own["alpha"]) if "alpha" in own else None
        factor = scale if scale is not None else (1.0 if alpha is None or rank is None else alpha / rank)
        convolution = down.ndim == 4
        up = (up * factor)[..., None, None] if convolution else up * factor
        words = ("lora_down", "lora_up") if scale is None else ("lora_A", "lora_B")
        result |= {f"{module}.{words[0]}.weight": down.contiguous(), f"{module}.{words[1]}.weight": up.contiguous()}
        if scale is None:
            result[f"{module}.alpha"] = torch.tensor(float(down.shape[0]))
    return result


def _factors(own: dict[str, Tensor]) -> tuple[Tensor, Tensor, int | None]:
    """Return up ``out R``, down ``R in`` or ``R in k k``, and the rank that alpha is divided by, if any."""
    if "hada_w1_a" in own:
        return _loha(own)
    if any(name.startswith("lokr_") for name in own):
        return _lokr(own)
    up, middle, down = (own[f"lora_{part}.weight"] for part in ("up", "mid", "down"))
    return up.flatten(1), torch.einsum("rskl,si->rikl", middle, down.flatten(1)), middle.shape[0]


def _loha(own: dict[str, Tensor]) -> tuple[Tensor, Tensor, int | None]:
    (up1, down1), (up2, down2) = (_pair(own, f"hada_w{k}_a", f"hada_w{k}_b", f"hada_t{k}") for k in (1, 2))
    up = torch.einsum("or,os->ors", up1, up2).flatten(1)
    return up, torch.einsum("r...,s...->rs...", down1, down2).flatten(0, 1), own["hada_w1_b"].shape[0]


def _pair(own: dict[str, Tensor], a: str, b: str, t: str) -> tuple[Tensor, Tensor]:
    """Return ``out r`` and ``r in`` (or ``r in k k``); with a core tensor ``t`` both factors begin with the rank."""
    if t not in own:
        return own[a], own[b]
    return own[a].T, torch.einsum("rskl,si->rikl", own[t], own[b])


def _lokr(own: dict[str, Tensor]) -> tuple[Tensor, Tensor, int | None]:
    w1 = own["lokr_w1"] if "lokr_w1" in own else own["lokr_w1_a"] @ own["lokr_w1_b"]
    w1 = w1.reshape(w1.shape[:2])
    rank = next((own[name].shape[0] for name in ("lokr_w2_b", "lokr_w1_b") if name in own), None)
    if "lokr_w2" in own:
        u, v = torch.eye(own["lokr_w2"].shape[0]), own["lokr_w2"]
    elif "lokr_t2" in own:
        u, v = own["lokr_w2_a"].T, torch.einsum("rskl,si->rikl", own["lokr_t2"], own["lokr_w2_b"])
    else:
        u, v = own["lokr_w2_a"], own["lokr_w2_b"]
    up = torch.kron(w1.contiguous(), u.contiguous())
    # Row (i1, r) of kron(I, v) has v's row r in the columns of i1.
    blocks = torch.einsum("ij,r...->irj...", torch.eye(w1.shape[1]), v)
    return up, blocks.flatten(2, 3).flatten(0, 1), rank
