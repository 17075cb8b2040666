"""The viewer's work without a browser: sampling, stopping, branching, new views, surface, export."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import show_toys as toys
import torch
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.errors import CameraError, SampleError, TuneMV3DError
from tunemv3d_core.io.depth_normals import read_depth
from tunemv3d_core.io.samples import find_samples, read_sample
from tunemv3d_core.sampling import Course, sample
from tunemv3d_show import view as command
from tunemv3d_show.export import export
from tunemv3d_show.session import Session, Step

pytest.importorskip("skimage", reason="the extra `view` is not installed")


@pytest.fixture
def session() -> Session:
    return Session.of(toys.ball_model(), toys.SPEC, "ball")


def sampled(session: Session, **options: object) -> torch.Tensor:
    """The same by core's sampler alone."""
    encode, own = session.model.backbone.encode_text, session.settings
    return sample(
        session.model,
        encode([own.prompt]),
        session.cameras[None],
        [own.seed],
        SampleSpec(steps=own.steps, guidance=own.guidance, consistency=own.consistency),
        negative=encode([""]),
        **options,
    )


def test_it_begins_as_the_checkpoint_says_and_samples_what_core_samples(session: Session) -> None:
    assert (session.settings.steps, session.settings.guidance, session.cameras.shape[0]) == (5, 2.0, 4)
    told: list[Step] = []
    session.start(told.append)
    assert session.finished and [step.index for step in told] == [0, 1, 2, 3, 4]
    assert torch.equal(session.history[-1].latents, sampled(session))
    assert all(step.seconds > 0 and step.x0 is not None for step in told)


def test_a_branch_with_nothing_changed_comes_to_the_same_and_with_another_k_keeps_what_was_before(
    session: Session,
) -> None:
    session.start()
    first = list(session.history)
    for index in (0, 3):
        session.branch(index)
        assert torch.equal(session.history[-1].latents, first[-1].latents)
    kept = session.history[:2]
    session.settings = replace(session.settings, consistency=0.0)
    session.branch(2)
    assert session.finished and session.branched
    assert session.history[:2] == kept
    assert session.history[2].x0 is None and torch.equal(session.history[2].x_t, first[2].x_t)
    expected = sampled(session, course=Course(begin=(2, first[2].x_t)))
    assert torch.equal(session.history[-1].latents, expected)
    assert not torch.equal(session.history[-1].latents, first[-1].latents)


def test_a_stop_keeps_the_steps_that_were_done_and_one_can_go_on(session: Session) -> None:
    session.start(lambda step: session.stop() if step.index == 1 else None)
    assert [step.index for step in session.history] == [0, 1] and not session.finished
    session.branch(1)
    assert session.finished and torch.equal(session.history[-1].latents, sampled(session))


def test_new_views_fit_the_finished_ones_which_stay_bit_for_bit(session: Session) -> None:
    session.start()
    done = session.history[-1].latents
    session.add_views(Cameras.orbit(2, elevation=60))
    after = session.history[-1].latents
    assert after.shape[1] == 6 and torch.equal(after[:, :4], done)
    assert session.cameras.shape[0] == 6 and after[:, 4:].isfinite().all()


def test_the_surface_of_each_step_is_the_balls(session: Session) -> None:
    session.start()
    for step in session.history:
        found = session.surface(step, resolution=24)
        assert found is not None
        radius = 0.7 - 0.4 * step.t / 1000
        assert np.abs(np.linalg.norm(found.vertices, axis=1) - radius).max() < 0.01
        a, b, c = (found.vertices[found.faces[:, i]] for i in range(3))
        # Signed volume is positive where faces are counter-clockwise from outside.
        volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)


def test_the_fields_own_view_from_a_camera_is_the_balls_outline(session: Session) -> None:
    session.start()
    eye = torch.tensor([[2.5, 0.3, 1.0]])
    seen = session.render(Cameras.look_at(eye))
    red = (seen[0] - seen[1] > 0.5).float().mean()
    sine = (0.7 - 0.4 * 0.02) / float(eye.norm())
    expected = np.pi * (1.3 * sine / (1 - sine**2) ** 0.5) ** 2
    assert float(red) == pytest.approx(expected, rel=0.1)


def test_an_export_is_a_sampled_object_that_others_read(session: Session, tmp_path: Path) -> None:
    session.settings = replace(session.settings, seed=7, prompt="a red ball")
    session.start()
    folders = [export(session, tmp_path / "out") for _ in range(2)]
    assert [folder.name for folder in folders] == ["a-red-ball-seed7", "a-red-ball-seed7-2"]
    assert find_samples(tmp_path / "out") == folders
    again = read_sample(folders[0])
    assert torch.equal(again.latents, session.history[-1].latents[0])
    assert torch.allclose(again.cameras.camera_to_world, session.cameras.camera_to_world)
    assert (again.prompt, again.manifest["seed"], again.manifest["num_inference_steps"]) == ("a red ball", 7, 5)
    files = again.manifest["files"]
    for view, depth in zip(files["views"], files["depth"], strict=True):
        with Image.open(folders[0] / view) as picture:
            assert picture.mode == "RGBA" and picture.size == (16, 16)
        middle = read_depth(folders[0] / depth)[8, 8]
        assert middle == pytest.approx(2.7 - (0.7 - 0.4 * 0.02), abs=0.02)
    assert len(json.loads((folders[0] / "transforms.json").read_text())["frames"]) == 4


def test_what_cannot_be_done_is_said_and_changes_nothing(session: Session, tmp_path: Path) -> None:
    for act, told in (
        (lambda: session.branch(0), "no step 0"),
        (lambda: session.add_views(Cameras.orbit(1)), "let the sampling end"),
        (lambda: session.scene(), "no object yet"),
        (lambda: export(session, tmp_path), "only a finished object"),
    ):
        with pytest.raises(TuneMV3DError, match=told):
            act()
    for change, told in (
        ({"prompt": "  "}, "prompt is empty"),
        ({"steps": 0}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
        ({"consistency": -1.0}, "consistency: K"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(TuneMV3DError, match=told):
            replace(session.settings, **change).options(toys.SPEC.sample)
    session.start()
    before = list(session.history)
    session.settings = replace(session.settings, steps=9)
    with pytest.raises(TuneMV3DError, match="set steps to 5"):
        session.branch(1)
    with pytest.raises(CameraError, match="inside"):
        session.render(Cameras.look_at(torch.tensor([[0.5, 0.0, 0.0]])))
    (tmp_path / "file").write_text("")
    with pytest.raises(SampleError, match="could not be written"):
        export(replace(session, settings=session.settings), tmp_path / "file/out")
    assert session.history == before


def test_a_step_that_gives_nan_is_told_and_its_steps_are_no_object(session: Session, tmp_path: Path) -> None:
    decode, calls = session.model.backbone.decode, []

    def sometimes(*given: object) -> torch.Tensor:
        calls.append(given)
        made = decode(*given).clone()
        made[:, 2] = torch.nan if len(calls) > 2 else made[:, 2]
        return made

    session.model.backbone.decode = sometimes
    with pytest.raises(SampleError, match=r"view 2 after step \d: numbers that are not finite"):
        session.start()
    assert all(step.latents.isfinite().all() for step in session.history)
    with pytest.raises(TuneMV3DError, match="only a finished object can be exported"):
        export(session, tmp_path)


def test_a_prompt_that_is_cut_is_told_in_the_notes(session: Session, tmp_path: Path) -> None:
    def cut_prompts(prompts: list[str]) -> list[str]:
        return [f"cut before {prompt[20:]!r}" for prompt in prompts if len(prompt) > 20]

    session.model.backbone.cut_prompts = cut_prompts
    session.settings = replace(session.settings, prompt="a chair that is red all over")
    session.start()
    assert session.notes == ["cut before 'all over'"]
    manifest = json.loads((export(session, tmp_path) / "manifest.json").read_text())
    assert session.notes[0] in manifest["notes"]


def test_a_folder_that_cannot_be_written_is_told_before_the_viewer_opens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TuneMV3DError, match="file is a file; choose another folder"):
        command.view("chairs-mini", out=tmp_path / "file/deeper")


def test_a_model_without_a_field_is_sampled_and_exported_without_shape(tmp_path: Path) -> None:
    session = Session.of(toys.ball_model(field=False), toys.SPEC, "plain")
    session.start()
    assert session.surface(session.history[0], 16) is None
    with pytest.raises(TuneMV3DError, match="no field"):
        session.scene()
    manifest = json.loads((export(session, tmp_path) / "manifest.json").read_text())
    assert "depth" not in manifest["files"] and len(manifest["files"]["views"]) == 4
