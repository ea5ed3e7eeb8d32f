"""The programs that the pages show are run as they stand there, on the demo's model."""

import pathlib
import re

import klens
import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ("README.md", "engine/include/README.md", "python/README.md")
PROGRAMS = [
    pytest.param(program, id=f"{page}:{at}")
    for page in PAGES
    for at, program in enumerate(re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S))
]


def test_every_page_shows_one():
    assert {param.id.split(":")[0] for param in PROGRAMS} == set(PAGES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(folder)
    (tmp_path / "book.txt").write_text("The river runs past the town and on to the sea. " * 40)
    if '"model.klens"' in program:
        klens.quantize(klens.Model(folder), "model.klens", method="uniform", uniform_format="int8", quantizer="rtn",
                       measure=False)
    exec(compile(program, "program", "exec"), {})
    assert capsys.readouterr().out
