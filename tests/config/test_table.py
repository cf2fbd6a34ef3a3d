"""The settings table says what the code does, no more and no less."""

from __future__ import annotations

from pathlib import Path
import re

from sluicegate.config.model import Settings
from sluicegate.config.table import settings, settings_table

ROOT = Path(__file__).resolve().parents[2]


def written_table() -> str:
    """The table where people read it: the README."""
    page = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"^\| setting \|.*?(?=^[^|]|\Z)", page, re.MULTILINE | re.DOTALL)
    return found[0].rstrip("\n") + "\n" if found else ""


def test_the_written_table_is_the_codes() -> None:
    assert settings_table().splitlines() == written_table().splitlines()


def test_every_setting_says_what_it_is() -> None:
    for path, field in settings(Settings):
        assert field.setting.about, path
        assert "|" not in field.setting.about, path


def test_every_limit_says_what_happens_at_it() -> None:
    for path, field in settings(Settings):
        if path.startswith(("timeouts.", "limits.")):
            assert ";" in field.setting.about, path
            assert field.setting.unit, path
