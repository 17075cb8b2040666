"""Folders signed and verified by model_signing with keys made here; what was changed since is found."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from tunemv3d_core.cli.signature import SIGNATURE, sign, verify
from tunemv3d_core.errors import ComponentError, TuneMV3DError


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path, "key")


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    own = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    private.write_bytes(key.private_bytes(*own))
    subject = form.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, subject))
    return private, public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    (made / "sub").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "sub/card.md").write_text("a card")
    (made / ".gitattributes").write_text("x")
    return made


def test_a_signed_folder_verifies_and_can_be_signed_again(
    folder: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        sign(folder, keys[0])
        verify(folder, keys[1])
    assert "as it was signed" in capsys.readouterr().out
    folder.rename(folder.with_name("elsewhere"))
    verify(folder.with_name("elsewhere"), keys[1])


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (lambda f: (f / "model.safetensors").write_bytes(b"weightz"), "Hash mismatch for 'model.safetensors'"),
    "a file more": (lambda f: (f / "sub/evil.py").write_text("x"), "Extra files.*sub/evil.py"),
    "a hidden file more": (lambda f: (f / ".gitignore").write_text("x"), "Extra files.*gitignore"),
    "a file less": (lambda f: (f / "sub/card.md").unlink(), "Missing files.*sub/card.md"),
    "a link": (lambda f: (f / "link").symlink_to("/etc/hostname"), "symlink"),
    "the signature": (lambda f: (f / SIGNATURE).write_text("{}"), "is not what was signed"),
    "half of it": (lambda f: (f / SIGNATURE).write_bytes((f / SIGNATURE).read_bytes()[:200]), "is not what was signed"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_was_changed_is_found(
    folder: Path,
    keys: tuple[Path, Path],
    change: tuple[Callable[[Path], object], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sign(folder, keys[0])
    change[0](folder)
    with pytest.raises(typer.Exit) as stopped:
        verify(folder, keys[1])

    told = capsys.readouterr().err
    assert stopped.value.exit_code == 1 and re.search(change[1], told) and "Do not use it" in told


def test_another_ones_key_does_not_do(
    folder: Path, keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign(folder, keys[0])
    with pytest.raises(typer.Exit):
        verify(folder, make_keys(tmp_path, "other")[1])
    assert "Key mismatch" in capsys.readouterr().err


def test_what_cannot_be_signed_or_verified_says_so(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(TuneMV3DError, match="is not signed"):
        verify(folder, keys[1])
    (tmp_path / "no.pem").write_text("no key")
    with pytest.raises(TuneMV3DError, match=r"cannot be signed with .*no\.pem"):
        sign(folder, tmp_path / "no.pem")
    assert not (folder / SIGNATURE).exists()


@pytest.mark.parametrize("command", [sign, verify])
def test_without_model_signing_it_names_the_extra(
    command: Callable[[Path, Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "model_signing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ComponentError, match=r"pip install 'tunemv3d-core\[sign\]'"):
        command(folder, folder / "key.pem")
