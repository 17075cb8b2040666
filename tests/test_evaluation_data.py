"""Real views are read by the component that the spec names: shards give what the folder gave that was packed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tunemv3d_core.assemble import assemble
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.posed_images import write_manifest
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.shards.job import PackJob, run_pack
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.protocols.protocol import load_protocol
from tunemv3d_eval.samples.jobs import Settings
from tunemv3d_eval.scoring.chosen import Needs, choose_metrics
from tunemv3d_eval.scoring.compared import score_real
from tunemv3d_eval.scoring.measurement import Measurement
from tunemv3d_eval.scoring.real import find_data, open_dataset, real_objects
from tunemv3d_eval.scoring.scored import Scored


@pytest.mark.slow
def test_shards_give_the_figures_of_the_folder_that_was_packed(tmp_path: Path) -> None:
    source, folder = find_asset("furniture"), tmp_path / "folder"
    ids = sorted(path.name for path in (source / "objects").iterdir())[:2]
    for id_ in ids:
        shutil.copytree(source / "objects" / id_, folder / "objects" / id_)
    write_manifest(folder, "two", dict(zip(ids, ("train", "held_out"), strict=True)))
    run_pack(PackJob(folder, tmp_path / "shards", objects=1), lambda n: None, lambda n: None)
    model = assemble(load_spec("baseline-2d-mini").model).eval()
    reports: list[Any] = []
    for type_, path in (("multiview", folder), ("shards", tmp_path / "shards")):
        spec = load_spec("furniture-mini", ["data.type=" + type_, f"data.path={path}"])
        real = real_objects(find_data(spec, ""), 4)
        scores = Lines(tmp_path / f"{type_}.jsonl", "key")
        chosen = choose_metrics(load_protocol("consistency"), ["hull-recall", "colour"])
        settings = Settings((0.0,), spec.sample, 4, 20.0)
        measurement = Measurement(chosen, model, Needs(model, settings, ""), scores, real.data)
        pictures, scored = tmp_path / f"pictures-{type_}", Scored("plain")
        score_real(real, model, {}, measurement, scored, pictures, lambda n: None)
        reports.append(scored.rows)
        assert [path.name for path in pictures.iterdir()] == [f"real-{ids[1]}.png"]
    assert reports[0] == reports[1] and reports[0][0]["hull_recall"] > 0.9
    other = open_dataset(load_spec("furniture-mini"), str(folder))
    assert [other.record(index).id for index in range(len(other))] == ids
