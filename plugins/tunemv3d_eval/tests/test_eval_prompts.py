"""The packaged prompts and pools, and what prompts name."""

from collections import Counter
from pathlib import Path

import pytest

from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.prompts import read_prompts
from tunemv3d_core.viz.colour_words import PALETTE
from tunemv3d_eval.protocols import worded
from tunemv3d_eval.protocols.pools import load_pool
from tunemv3d_eval.protocols.worded import Named, by_rule, named, write_lists

PROMPTS = Path(worded.__file__).parent / "prompts"


def test_the_lists_by_rule_are_what_the_rule_writes(tmp_path: Path) -> None:
    write_lists(tmp_path)
    for count in (60, 300):
        name = f"chairs-{count}.txt"
        assert (PROMPTS / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8")
        assert len(set(read_prompts(PROMPTS / name))) == count
    assert read_prompts(PROMPTS / "chairs-300.txt")[:60] == read_prompts(PROMPTS / "chairs-60.txt")


def test_the_rule_is_even_over_types_colours_and_parts() -> None:
    for some in (by_rule(300), by_rule(60)):
        bodies, parts = Counter(each.body for each in some), [each for each in some if each.parts]
        assert set(bodies) == set(PALETTE) and max(bodies.values()) <= 1.6 * min(bodies.values()) + 1
        assert 0.5 < len(parts) / len(some) < 0.8
        assert all(colour != each.body for each in parts for colour in each.parts.values())


def test_what_the_rule_says_is_read_back_from_its_text() -> None:
    assert all(named(each.text()) == each for each in by_rule(300))
    assert by_rule(300)[:60] == by_rule(60)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("A light blue Children's chair.", Named("children's chair", "light blue")),
        ("an armchair with white wooden legs", Named("armchair", "", {"legs": "white"})),
        ("a gray stool with a black seat and red legs", Named("stool", "grey", {"seat": "black", "legs": "red"})),
        ("a red and white chair", Named("chair", "red")),
        ("a blue rocking chair", Named("", "blue")),
        ("a chair with armrests", Named("chair")),
        ("a teapot", Named()),
        ("a redwood chair with coloured legs", Named("", "")),
    ],
)
def test_what_a_prompt_names(prompt: str, found: Named) -> None:
    assert named(prompt) == found


def test_chairs_30_and_its_pool() -> None:
    prompts, pool = read_prompts(PROMPTS / "chairs-30.txt"), load_pool("chairs-100")
    assert len(prompts) == 30 and len(pool) == 100
    assert list(pool[:30]) == prompts
    assert len({" ".join(sorted(text.split())) for text in pool}) == 100


def test_a_pool_may_be_a_list_of_prompts_or_a_file(tmp_path: Path) -> None:
    assert len(load_pool("chairs-300")) == 300
    file = tmp_path / "mine.txt"
    file.write_text("# mine\na red cube\na blue cube\n", encoding="utf-8")
    assert load_pool(str(file)) == ("a red cube", "a blue cube")


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "0 candidates"), ("a cube\n", "1 candidates"), ("a cube\na ball\nA  cube.\n", "one candidate twice")],
)
def test_pools_that_decide_nothing_are_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "pool.txt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=words):
        load_pool(str(file))


def test_an_unknown_pool_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SpecError, match="Did you mean 'chairs-100'"):
        load_pool("chair-100")
