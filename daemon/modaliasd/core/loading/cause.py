"""Why a module is wanted: one value, its form in the ledger, and its words.

    {devpath, subsystem, modalias, alias, line, file}    a device's modalias matched a pattern
    {module}                                             that module depends on it
    {softdep}                                            that module names it in a softdep
    {request, alias, line, file}                         somebody asked for it by name

docs/ledger.md describes the fields. The daemon writes them, the ledger's readers on both sides get the same value back.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.plan import ALIAS_FILE, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from modaliasd.core.kmod.plan import Match

NEEDS = "needs it"
SOFTDEP = "names it in a softdep"
_LOG_TEXT = 120  # characters of a modalias or a pattern in the kernel's log, which has short lines


class Cause(NamedTuple):
    """Why a module is wanted. Exactly one of devpath, module, softdep, request is set.

    alias, line: the pattern that matched, and its line, 0 if unknown. file: where it stands, "" for modules.alias.
    module: the module that depends on it. softdep: the module that names it in a softdep. request: who asked by name.
    """

    devpath: str = ""
    subsystem: str = ""
    modalias: str = ""
    alias: str = ""
    line: int = 0
    file: str = ""
    module: str = ""
    softdep: str = ""
    request: str = ""

    def by(self, match: Match) -> Cause:
        """Return the same cause, with the pattern by which the device's modalias, or the name, led to the module."""
        file = match.file if match.alias and match.file != ALIAS_FILE else ""
        return Cause(
            self.devpath, self.subsystem, self.modalias, match.alias, match.line, file, request=self.request
        )

    @property
    def who(self) -> str:
        """Who wants it: a devpath, a module, or whoever asked by name; "" if the ledger does not tell."""
        return self.devpath or self.module or self.softdep or self.request

    @property
    def place(self) -> str:
        """Where the pattern stands: "line 605 of modules.alias"; "" if unknown."""
        return place_of(self.line, self.file)

    def fields(self) -> dict[str, Any]:
        """As the ledger has it: what is set."""
        return {key: value for key, value in self._asdict().items() if value}

    def in_short(self, node: str = "", others: int = 0) -> str:
        """Return it in a few words: "pci 0000:00:03.0 (eth0) and 1 more by pci:v8086*", "libata needs it".

        node: the device's node or interface. others: how many causes there are besides. Device names and patterns are
        as the kernel gave them: what goes to a terminal is for the caller to make printable.
        """
        more = f" and {others} more" if others else ""
        if self.devpath:
            name = self.devpath.rpartition("/")[2]
            known = f" ({node})" if node else ""
            by = f" by {self.alias}" if self.alias else ""
            return f"{self.subsystem or 'device'} {name}{known}{more}{by}"
        if self.module:
            return f"{self.module} {NEEDS}{more}"
        if self.softdep:
            return f"{self.softdep} {SOFTDEP}{more}"
        return f"asked for by {self.request}{more}" if self.request else "nobody knows why"

    def in_full(self) -> str:
        """For the kernel's log: with the device's whole path and its modalias."""
        if not self.devpath:
            return self.in_short()
        modalias, alias = self.modalias[:_LOG_TEXT].replace("\n", " "), self.alias[:_LOG_TEXT]
        return f"for {self.devpath} ({self.subsystem}) {modalias} by {alias}"


def cause_of(fields: Mapping[str, Any]) -> Cause:
    """Return the cause that `fields()` has written; what is not known here is passed over."""
    return Cause(**{key: fields[key] for key in Cause._fields if key in fields})
