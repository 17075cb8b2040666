"""Links of a README work on an index's page, which knows nothing of the repository."""

import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tunemv3d_core.scaffold.write import write_package
from tunemv3d_release.build import build, read_project
from tunemv3d_release.links import with_whole_links

TEXT = """# Title

See [the guide](docs/guide.md#first), [the data](../data/README.md), [elsewhere](https://example.org/a), [below](#end).

![a chair](docs/chair.webp) and <img src="docs/table.webp" width="240" alt="a table">

    [code](docs/guide.md)

```
[code](docs/guide.md)
```

`[code](docs/guide.md)` [outside](../../etc/passwd)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    for name in ("mine", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(f'[project]\nname = "{name}-dist"\n')
    return tmp_path / "mine"


def test_they_lead_to_the_tag_of_the_named_repository(package: Path) -> None:
    led = with_whole_links(TEXT, package, {"Source Code": "https://example.org/me/all/"}, "1.2.0")
    at = "https://example.org/me/all"
    assert f"[the guide]({at}/blob/v1.2.0/mine/docs/guide.md#first)" in led
    assert f"![a chair]({at}/raw/v1.2.0/mine/docs/chair.webp)" in led
    assert f'<img src="{at}/raw/v1.2.0/mine/docs/table.webp" width="240" alt="a table">' in led
    assert "[the data](https://pypi.org/project/data-dist/)" in led
    assert "[elsewhere](https://example.org/a)" in led and "[below](#end)" in led
    assert led.count("[code](docs/guide.md)") == 3, "code stays as it is"
    assert " outside\n" in led


def test_without_a_repository_links_are_words_and_pictures_are_left_out(package: Path) -> None:
    led = with_whole_links(TEXT, package, {"Homepage": "https://example.org"}, "1.2.0")
    assert "See the guide, [the data](https://pypi.org/project/data-dist/), [elsewhere]" in led
    assert "chair" not in led and "<img" not in led
    assert led.count("[code](docs/guide.md)") == 3


def test_sdist_and_wheel_have_them(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_package("command", "mine", folder)
    toml = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(toml + '\n[project.urls]\nRepository = "https://example.org/me/all"\n')
    with (folder / "README.md").open("a") as readme:
        readme.write("\nSee [the licence](LICENSE).\n")
    out = tmp_path / "dist"
    out.mkdir()
    built = build(read_project(folder), out)
    led = "[the licence](https://example.org/me/all/blob/v0.1.0/LICENSE)"
    with tarfile.open(built.sdist) as sdist:
        kept = {name.partition("/")[2]: sdist.extractfile(name).read() for name in sdist.getnames()}
    with zipfile.ZipFile(built.wheel) as wheel:
        kept["METADATA"] = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA")))
    assert led in kept["README.md"].decode()
    for name in ("PKG-INFO", "METADATA"):
        assert (
            message_from_bytes(kept[name]).get_payload(decode=True).decode().strip()
            == kept["README.md"].decode().strip()
        )
    assert "(LICENSE)" in (folder / "README.md").read_text(), "the sources stay as they are"
