"""What a search says: of one thing that it found, and of what it could not search."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.language import Language, Text


class Family(enum.StrEnum):
    """What is searched for, in the order in which it is shown."""

    CAMERA = "camera"
    LOUDSPEAKER = "loudspeaker"
    MODEM = "modem"
    SERIAL = "serial"
    WIFI = "wifi"


class Standing(enum.StrEnum):
    """What becomes of it."""

    NEW = "new"  # its section can be taken as it is
    HAND = "hand"  # its section lacks what only the installer knows: it is written as a comment
    KNOWN = "known"  # the configuration has it
    SEEN = "seen"  # shown, and nothing is to be configured


NOTHING: Final = Text("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the configuration: `table` is its name there, `settings` one of gateway.config's structs.

    `notes` stand above it as comments, `credentials` names the login that it will want. `show` are keys that are
    written although they are the default. `whole` False: it lacks something, and is written as a comment.
    """

    table: str
    settings: msgspec.Struct
    show: frozenset[str] = frozenset()
    notes: tuple[Text, ...] = ()
    credentials: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing. `thing` is where it is (an address, a port, a name); all texts of others have gone through shown_text.

    `candidate`: what it is has not been proved.
    """

    family: Family
    thing: str
    what: Text
    standing: Standing
    candidate: bool = False
    advice: Text = NOTHING
    section: Section | None = None
    facts: dict[str, str | int | float | bool | list[str]] = field(default_factory=dict)

    def as_fields(self, language: Language) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "family": self.family.value,
            "searched": True,
            "thing": self.thing,
            "what": self.what.say(language),
            "standing": self.standing.value,
            "candidate": self.candidate,
            "advice": self.advice.say(language),
            "section": None if self.section is None else self.section.table,
            "settings": None if self.section is None else msgspec.to_builtins(self.section.settings),
            "credentials": "" if self.section is None else self.section.credentials,
            "facts": self.facts,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsearched:
    """What could not be searched, or not wholly, and what to do. `detail` is the machine's own words."""

    family: Family
    thing: str
    what: Text
    remedy: Text
    detail: str = ""

    def as_fields(self, language: Language) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "family": self.family.value,
            "searched": False,
            "thing": self.thing,
            "what": self.what.say(language),
            "remedy": self.remedy.say(language),
            "detail": self.detail,
        }
