"""What a run says at its end."""

from io import StringIO

from rich.console import Console

from tunemv3d_train.evaluation import table

BEFORE = {
    "neus": 0.3,
    "denoise/t=50": 0.1,
    "denoise/t=500": 0.02,
    "denoise_frozen/t=50": 0.1,
    "denoise_frozen/t=500": 0.02,
}
AFTER = {**BEFORE, "neus": 0.18, "denoise/t=50": 0.11, "denoise/t=500": 0.03}


def test_changes_are_against_the_frozen_model_where_it_has_the_figure() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table(BEFORE, AFTER, "4 held-out objects"))
    rows = {line.split("│")[1].strip(): line.split() for line in console.export_text().splitlines() if "│" in line}
    assert rows["L_neus"][-2] == "-40.0%"
    assert rows["L_denoise, t=50"][-2] == "+10.0%" and rows["L_denoise, t=500"][-2] == "+50.0%"
    assert rows["L_denoise, mean"][-2] == "+16.7%" and "0.0700" in rows["L_denoise, mean"]


def test_a_model_without_a_field_has_only_the_denoising_rows() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table({}, {"denoise/t=500": 0.01, "denoise_frozen/t=500": 0.02}, "1 training object"))
    text = console.export_text()
    assert "L_neus" not in text and "-50.0%" in text
