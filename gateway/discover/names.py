"""Names for what is found, in the form that the configuration asks for. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

_LONGEST: Final = 32  # 40 is a camera's limit; what makes a name unique stands behind it


def slug(text: str) -> str:
    """Return a text as a name, "" where nothing of it is left: `Cổng UBND` gives `cong-ubnd`."""
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "d"))
    kept = "".join(letter for letter in plain if not unicodedata.combining(letter)).lower()
    return re.sub(r"[^a-z0-9]+", "-", kept)[: _LONGEST + 1].strip("-")[:_LONGEST].strip("-")


@dataclass(slots=True)
class Names:
    """The names of one kind of source that are taken."""

    taken: set[str] = field(default_factory=set)

    def give(self, wanted: str, place: str = "") -> str:
        """Return a name that nobody has, and keep it: as wanted, else with what tells the place, else with a number."""
        last = slug(place)[:6].strip("-")
        free = (name for name in (wanted, f"{wanted}-{last}" if last else "") if name and name not in self.taken)
        name = next(free, "")
        number = 2
        while not name or name in self.taken:
            name, number = f"{wanted}-{number}", number + 1
        self.taken.add(name)
        return name
