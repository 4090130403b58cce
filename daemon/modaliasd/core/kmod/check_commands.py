"""What the commands of install and remove lines run, and is not there: found in the words, without being the shell."""
# ruff: noqa: SIM905  (words in a row are easier to read than a list of them)

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.core.kmod.modprobe_d import Configuration

_PATH = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")
_KEYWORDS = frozenset("{ } ! if then else elif fi do done while until for case esac time".split())
# of dash and busybox's ash, as far as a command would use them
_BUILTINS = frozenset(
    ". : [ alias break cd command continue echo eval exec exit export false getopts kill let local printf "
    "pwd read readonly return set shift source test times trap true type ulimit umask unalias unset wait".split()
)
_NOT_BUSYBOX = frozenset(
    "-C --config -d --dirname -S --set-version -f --force --force-vermagic --force-modversion -n --dry-run "
    "--show -c --showconfig -R --resolve-alias -w --wait --dump-modversions".split()
)


class Programs(NamedTuple):
    """What commands can run: is there a program of this path? busybox: is the modprobe its?"""

    exists: Callable[[str], bool]
    busybox: bool


def check_commands(configuration: Configuration, programs: Programs) -> Iterator[Problem]:
    """Return what install and remove lines run that is not there, or that does not take such options."""
    for entry in configuration.installs + configuration.removes:
        for words in _simple_commands(entry.text):
            name = words[0]
            if not _runs(name, programs):
                yield Problem(entry.file, entry.line, f"{entry.text}: there is no program {name}")
            elif name.rpartition("/")[2] == "modprobe" and programs.busybox:
                lacking = [word for word in words if word.partition("=")[0] in _NOT_BUSYBOX]
                if lacking:
                    message = f"{entry.text}: busybox's modprobe has no {lacking[0]} (make-image --modprobe kmod has)"
                    yield Problem(entry.file, entry.line, message)


def _simple_commands(text: str) -> list[list[str]]:
    """Return the commands of a shell's line as words, as far as they can be told without being the shell."""
    for separator in ("&&", "||", ";", "|", "&", "\n", "("):
        text = text.replace(separator, " ; ")
    commands: list[list[str]] = []
    words: list[str] = []
    for word in [*text.replace(")", " ").split(), ";"]:
        if word == ";":
            if words:
                commands.append(words)
            words = []
        elif words or not (word in _KEYWORDS or (word.partition("=")[0].isidentifier() and "=" in word)):
            words.append(word)
    return commands


def _runs(name: str, programs: Programs) -> bool:
    """Is there such a program? What the shell makes of a word first (`$x`, quotes, redirections) is left alone."""
    if name.startswith("/"):
        plain = name.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum()
        return not plain or programs.exists(name)
    if not name.replace("-", "").replace("_", "").isalnum() or name in _BUILTINS:
        return True
    return any(programs.exists(f"{directory}/{name}") for directory in _PATH)
