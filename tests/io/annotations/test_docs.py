from pathlib import Path

from fullframe.io.annotations.read import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "files.md"


def test_the_page_lists_all_formats():
    rows = [
        line.split("|")[1].strip()
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line[:2] == "| "
    ]
    formats = rows[rows.index("format") + 1 : rows.index("width and height in the file")]
    assert formats == list(FORMATS)
