"""docs/configuration*.md are what the programs print from their own tables; a changed table wants a changed page. And what is
installed finds what it names."""
import os
import re
import subprocess
from pathlib import Path

import pytest

from tide.stack import BUILD, program

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name,page", [("tidegate", "configuration.md"), ("tide-status", "configuration-status.md")])
def test_the_page_is_what_the_program_prints(name, page):
    printed = subprocess.run([program(name), "--print-manual"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert printed == (DOCS / page).read_text(), f"write it again: {name} --print-manual > docs/{page}"


def test_what_is_installed_names_what_is_installed(tmp_path):
    """The programs and pages of the units, and the SQL files of `tidectl migrate`, lie where they are looked for."""
    subprocess.run(["cmake", "--install", BUILD], env={**os.environ, "DESTDIR": str(tmp_path)}, check=True, stdout=subprocess.DEVNULL)
    (units,) = tmp_path.rglob("systemd/system")
    texts = [unit.read_text() for unit in units.iterdir()]
    named = {path for text in texts for path in re.findall(r"/usr/\S+/(?:tide\S+)", text)}
    assert len(texts) == 3 and {Path(path).name for path in named} == {"tidegate", "tide-status", "tide-worker", "configuration.md"}
    said = subprocess.run([program("tidectl"), "migrate", "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    folder = re.search(r"of the SQL files \((\S+)\)", said)[1]
    assert all((tmp_path / path.lstrip("/")).exists() for path in (*named, f"{folder}/0001_foundation.sql"))
