"""docs/configuration*.md are what the programs print from their own tables; a changed table wants a changed page."""
from pathlib import Path
import subprocess

import pytest

from tide.stack import program

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name,page", [("tidegate", "configuration.md"), ("tide-status", "configuration-status.md")])
def test_the_page_is_what_the_program_prints(name, page):
    printed = subprocess.run([program(name), "--print-manual"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert printed == (DOCS / page).read_text(), f"write it again: {name} --print-manual > docs/{page}"
