"""Hub ids, from a cache that was filled before; in a process of its own, as the cache's place is read on import."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from original_layout import save_single_file
from tiny_pipelines import pipeline

SCRIPT = """
import json, sys
from toy_model import load
loaded = {"sdxl": load("someone/xl"), "sd15": load(sys.argv[1])}
told = {k: [sorted(b.fingerprint()), len(b.ports.residuals), b.ports.pooled_channels] for k, b in loaded.items()}
print(json.dumps(told))
"""


def put_into_cache(folder: Path, cache: Path, name: str) -> None:
    """In the hub's own layout."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))


@pytest.mark.slow
def test_hub_ids_and_the_usual_configs_of_single_files_come_from_the_cache(folders, tmp_path):
    put_into_cache(folders["sdxl"], tmp_path / "hub", "someone/xl")
    put_into_cache(folders["sd15"], tmp_path / "hub", "stable-diffusion-v1-5/stable-diffusion-v1-5")
    file = save_single_file(tmp_path / "model.safetensors", pipeline("sd15"))
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", SCRIPT, file], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["sd15"] == [["model.safetensors"], 13, None]
    files, *ports = told["sdxl"]
    assert {name.split("/")[0] for name in files} == {"text_encoder", "text_encoder_2", "unet", "vae"}
    assert ports == [10, 48]
