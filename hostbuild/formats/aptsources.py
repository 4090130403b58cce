"""apt's sources: read in both of their forms, and written for another release of the same archives.

    deb [signed-by=/usr/share/keyrings/x.gpg] http://example.org/debian bookworm main      *.list, a line an entry

    Types: deb                                                                             *.sources, fields as in
    URIs: http://example.org/debian                                                        a package's control file
    Suites: bookworm bookworm-updates
    Components: main
    Signed-By: /usr/share/keyrings/x.gpg

An archive has pockets beside a release: `bookworm-updates`, `bookworm-security`. Source: man sources.list.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# What `apt-get indextargets --format` is asked for: a line of INDEX_FIELDS for each list of packages.
INDEX_FIELDS = ("ORIGIN", "CODENAME", "RELEASE", "COMPONENT", "REPO_URI", "CREATED_BY")
INDEX_FORMAT = "|".join(f"$({name})" for name in INDEX_FIELDS)

_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)")
_FIELD_OF = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}  # options called otherwise
# What an entry says of its own place, or of what is not asked for here; everything else goes along.
_OWN = {
    *("types", "uris", "suites", "components", "enabled", "x-repolib-name", "description", "snapshot"),
    *("languages", "targets"),
}
_UNSTABLE, _EXPERIMENTAL = ("sid", "unstable"), ("experimental", "rc-buggy")  # they have no pockets
_POCKETS = ("updates", "security")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a source list. options: the other fields, such as Signed-By, by name, as deb822 has them."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Archive:
    """Where this machine gets a pocket of its release from. pocket: "" for the release itself."""

    pocket: str
    uri: str
    suite: str
    codename: str


def parse_sources(text: str, *, deb822: bool) -> list[Entry]:
    """Parse a file of entries; what is switched off, no binary packages', or nonsense is passed over."""
    return list(_stanzas(text) if deb822 else _lines(text))


def parse_targets(text: str, codename: str) -> list[Archive]:
    """Give the archives of Debian, one for each pocket, of lines in INDEX_FORMAT.

    codename: this machine's release, by which a mirror is known that calls itself otherwise.
    """
    found: dict[str, Archive] = {}
    for line in text.splitlines():
        row = dict(zip(INDEX_FIELDS, line.split("|"), strict=False))
        named = row.get("CODENAME", "")
        if named.startswith("$("):  # the lists were never fetched
            named = row.get("RELEASE", "")
        base, _, pocket = named.partition("-")
        ours = row.get("ORIGIN") == "Debian" or (base and base == codename)
        if ours and row.get("COMPONENT") == "main" and row.get("CREATED_BY") == "Packages":
            archive = Archive(pocket, row["REPO_URI"], row["RELEASE"], named)
            found.setdefault(pocket, archive)
    return list(found.values())


def suites_of(release: str) -> list[tuple[str, str]]:
    """Give the suites in which a release is found, as (pocket, suite), the release itself first.

    Backports and the like build upon their release, experimental upon sid: packages there need others from these.
    """
    base, dash, pocket = release.partition("-")
    if release in _UNSTABLE:
        return [("", release)]
    if release in _EXPERIMENTAL:
        return [("", release), ("", "sid")]
    first = [(pocket, release)] if dash else []
    return [*first, ("", base), *((one, f"{base}-{one}") for one in _POCKETS if one != pocket)]


def preferences_for(release: str) -> str:
    """Write apt's preferences: what backports and the like have goes before what they build upon."""
    if "-" not in release and release not in _EXPERIMENTAL:
        return ""
    return "\n".join(f"Package: *\nPin: release {sign}={release}\nPin-Priority: 990\n" for sign in ("n", "a"))


def sources_for(
    release: str,
    archives: Iterable[Archive],
    entries: Iterable[Entry],
    without: Iterable[str] = (),
    architecture: str = "",
    types: str = "deb",
) -> str:
    """Write the sources of another release: this machine's archives and how they are trusted, with other suites.

    A pocket that this machine has no archive for is left out, but for those that lie beside the release itself.
    without: suites that are known not to exist. architecture: the only one wanted, "" for the entries' own. types:
    "deb-src" for source packages. Gives "" where there is no archive at all.
    """
    of_pocket = {archive.pocket: archive for archive in archives}
    known = list(entries)
    left_out = set(without)
    stanzas = []
    for pocket, suite in suites_of(release):
        archive = of_pocket.get(pocket) or (None if pocket in _POCKETS else of_pocket.get(""))
        if archive is None or suite in left_out:
            continue
        fields = {"Types": types, "URIs": archive.uri, "Suites": suite, "Components": "main"}
        fields |= _options(archive, known)
        if architecture:
            fields["Architectures"] = architecture
        stanzas.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return "\n".join(stanzas)


def _options(archive: Archive, entries: Iterable[Entry]) -> Mapping[str, str]:
    """Find the options of the entry that an archive is from."""
    for entry in entries:
        if (
            any(uri.rstrip("/") == archive.uri.rstrip("/") for uri in entry.uris)
            and archive.suite in entry.suites
        ):
            return entry.options
    return {}


def _lines(text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        match = _LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        options: dict[str, str] = {}
        for word in (match["options"] or "").split():
            name, equals, value = word.partition("=")
            if equals and name[-1:] not in ("+", "-"):
                options[_FIELD_OF.get(name, name.title())] = value.replace(",", " ")
        yield Entry((match["uri"],), (match["suite"],), _kept(options))


def _stanzas(text: str) -> Iterator[Entry]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields = {
            name.lower(): (name, value)
            for name, value in re.findall(r"(?m)^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza)
        }

        def words(name: str, fields: dict[str, tuple[str, str]] = fields) -> tuple[str, ...]:
            return tuple(fields.get(name, ("", ""))[1].split())

        if words("enabled") in (("no",), ("false",), ("0",)) or "deb" not in words("types"):
            continue
        yield Entry(words("uris"), words("suites"), _kept(dict(fields.values())))


def _kept(options: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if name.lower() not in _OWN}
