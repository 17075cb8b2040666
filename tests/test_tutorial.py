"""Every command of docs/publish-your-own-field.md, in order, in an environment of its own."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tunemv3d_core.io.posed_images import read_manifest, write_manifest
from tunemv3d_core.plugins.assets import find_asset

PAGE = Path(__file__).parents[1] / "docs/publish-your-own-field.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
SHOWN = [text for kind, text in BLOCKS if kind == "text" and text.startswith("field my_field")]
"""What the page says that the kit prints."""
COMMANDS = ("tunemv3d", "tunemv3d-train", "pip", "pytest", "mypy")
SETTINGS = ("views.inputs=2", "views.novel=1", 'train.preview_prompts=["a chair"]', "sample.steps=1", "train.batch=1")
QUICK = " --steps 2" + "".join(f" --set '{setting}'" for setting in SETTINGS)
"""Appended to training: two steps show that it runs. The kit is asked before the release, and not once more by it."""
TYPES = PAGE.parents[1] / ".mypy_cache/packages"
"""What mypy found out about other packages is the same for every package that is written here."""


def environment(folder: Path) -> dict[str, str]:
    """Variables of a new virtual environment that sees all that is installed here, and no network."""
    venv.create(folder)
    (site,) = folder.glob("lib/*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for name in COMMANDS:
        script = (Path(sys.executable).parent / name).read_text().split("\n", 1)
        (folder / "bin" / name).write_text(f"#!{folder}/bin/python\n{script[1]}")
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    fixed = {"OMP_NUM_THREADS": "1", "MYPY_CACHE_DIR": str(TYPES)}
    # pip reads options from variables; this one means that builds are not isolated.
    return os.environ | {"PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", **fixed}


def few_chairs(folder: Path) -> Path:
    """Three of the packaged chairs, of which one is held out."""
    source = find_asset("chairs")
    splits = read_manifest(source)
    trained, measured = ([name for name in splits if splits[name] == split] for split in ("train", "held_out"))
    kept = {name: splits[name] for name in (*trained[:2], measured[0])}
    for name in kept:
        shutil.copytree(source / "objects" / name, folder / "objects" / name)
    write_manifest(folder, "chairs", kept)
    return folder


def change(file: Path, diff: str) -> None:
    """Apply the diff of a page: lines that are taken out, each time followed by those in their place."""
    text = file.read_text(encoding="utf-8")
    for hunk in diff.strip("\n").split("\n\n"):
        old, new = ("".join(f"{line[1:]}\n" for line in hunk.split("\n") if line[0] == sign) for sign in "-+")
        assert text.count(old) == 1, f"the page changes what the field does not have: {old}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def test_the_page_is_read_whole() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("bash") >= 8 and kinds.count("diff") == 1
    assert {kind for kind in kinds if kind not in ("bash", "diff")} == {"text"}
    assert not re.search(r"^(    |\t)\S", PAGE.read_text(), re.MULTILINE), "an indented block would not be executed"
    texts = [text for kind, text in BLOCKS if kind == "text"]
    uploads = [text for text in texts if text not in SHOWN]
    assert len(SHOWN) == 1 and all(line.startswith("twine upload") for text in uploads for line in text.splitlines())


@pytest.mark.slow
def test_every_command_works(tmp_path: Path) -> None:
    variables = environment(tmp_path / "venv")
    folder, told = tmp_path, {}
    quick = f"{QUICK} --set data.path={few_chairs(tmp_path / 'chairs')}"
    for kind, text in BLOCKS:
        if kind == "diff":
            change(folder / "src/my_field/field.py", text)
        for line in text.splitlines() if kind == "bash" else ():
            if line.startswith("cd "):
                folder = folder / line.removeprefix("cd ")
                continue
            more = {"tunemv3d-train": quick, "tunemv3d plugins release": " --no-kit"}
            command = line + "".join(words for start, words in more.items() if line.startswith(start))
            done = subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            told[line] = done.stdout
    checked = told["tunemv3d plugins check my_field"]
    assert [name for name in re.findall(r"^ (\w+)", SHOWN[0], re.MULTILINE) if name not in checked] == []
    assert SHOWN[0].splitlines()[0] in checked
    assert "passed" in told["pytest -q"] and "field my_field" in checked
    assert "model.field.type" in told["tunemv3d spec diff chairs-mini my_field-mini"]
    assert all("L_neus" in out for line, out in told.items() if line.startswith("tunemv3d-train"))
    assert "Would install my-field-0.1.0" in told[next(line for line in told if "--find-links" in line)]
    assert {file.suffix for file in (folder / "dist").iterdir()} == {".whl", ".gz"}
    page = (folder / "compare.html").read_text()
    assert "my_field-mini" in page and "chairs-mini" in page
