"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import error_pages


def test_every_error_is_found_with_its_words(tmp_path: Path) -> None:
    source = tmp_path / "tunesmith"
    source.mkdir()
    (source / "x.py").write_text(
        "raise UserError(f'no {name}' ' here', allowed=('a ' 'b'), hint=maybe(), code='no-name')\n"
        "raise errors.UserError('plain')\n"
        "CODE = 'from-a-constant'\n"
        "raise UserError('x', code=CODE)\n"
        "raise UserError(what, code=code)\n"
        "Problem(path, 'odd', given, code='odd')\n"
        "TABLE = Table('method', {})\n"
        "raise UserError(f'unknown {self.kind}', code=f'unknown-{self.kind}')\n"
    )
    found = {item.code: item for item in error_pages.raised(source)}
    assert set(found) == {"no-name", "invalid-input", "unknown-method", "from-a-constant", "odd"}
    assert found["no-name"].what == "no … here"
    assert found["no-name"].allowed == "a b"
    assert found["no-name"].hint == ""
    assert found["unknown-method"].what == "unknown method"
    page = error_pages.page(source)
    assert "## no-name\n\n- **no … here** (`tunesmith.x`)\n  Allowed: a b.\n" in page


def test_every_code_is_kebab_case_and_has_a_heading() -> None:
    page = error_pages.page()
    for item in error_pages.raised():
        assert item.code == item.code.lower().replace("_", "-").replace(" ", "-")
        assert f"## {item.code}\n" in page
