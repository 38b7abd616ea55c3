"""In which language an installer is spoken to, and a sentence in both of them."""

from __future__ import annotations

import contextlib
import enum
import locale
import os
from typing import NamedTuple


class Language(enum.StrEnum):
    """In which language a command speaks."""

    VI = "vi"
    EN = "en"


class Text(NamedTuple):
    """One sentence in both languages."""

    vi: str
    en: str

    def say(self, language: Language) -> str:
        """Return it in one of them."""
        return self.vi if language is Language.VI else self.en


def language_of_terminal() -> Language:
    """English where the terminal says so by LC_ALL, LC_MESSAGES or LANG; Vietnamese else: it is an installer's tool."""
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_MESSAGES, "")
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    first = next((name for name in names if name), "")
    return Language.EN if first.startswith("en") else Language.VI
