"""How a step of a plan is carried out by the image's own tools, so that kmod's and busybox's do the same.

What the two modprobes do with a bare module name, seen by running them (kmod 30, busybox 1.35):
- both take the options for that name from /etc/modprobe.d and the kernel's command line; kmod also those of
  the other directories, and neither those reached by an alias;
- both put options from their arguments behind the configured ones. Options given twice are harmless, the
  kernel lets the last one count, so where the modprobe would not find exactly the right ones all are passed;
- both put double quotes around a value with blanks; busybox also around one that has them already, so
  quotes are taken off here;
- `-b` makes both refuse a blacklisted name, so a dependency or softdep that is on a blacklist goes without;
- a name that a modprobe.d alias matches is taken for that alias, so such a module is inserted by insmod;
- busybox ignores install and remove lines, and kmod inserts what a module with an install line needs, with the softdeps
  of that, before it runs the command: so the shell runs it, once all that it needs is in;
- busybox has no long options and no -i (`modprobe --ignore-install x` in x's own install line): the command gets a
  modprobe that has (rootfs-overlay/usr/lib/micro/install-modprobe);
- a module that needs one with an install line, or has it as a softdep, is inserted by insmod: busybox's modprobe would
  insert that one itself, and kmod's would run the command once more;
- kmod's modprobe follows softdeps by itself, also those of what it needs: the daemon has them loaded, in its order and
  by its policy, so a module that has any is inserted by insmod, after all that it needs.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.settings import split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.kmod.plan import Step


INSTALL_MODPROBE = "/usr/lib/micro/install-modprobe"  # takes kmod's options, for busybox's


class Flavour(Enum):
    """Whose modprobe the image has."""

    KMOD = "kmod"
    BUSYBOX = "busybox"


class Tool(Enum):
    """The program to run."""

    MODPROBE = "modprobe"
    INSMOD = "insmod"
    SHELL = "sh"


class Invocation(NamedTuple):
    """One child process: the tool, its arguments, and what to set in its environment.

    batch: whether its module may share one `modprobe -b -a -- NAME...` with others of which this is true.
    """

    tool: Tool
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    batch: bool = False


def invocation(step: Step, flavour: Flavour, modules_dir: str) -> Invocation:
    """Return how to carry out the step. modules_dir: where modules.dep lies, for insmod, which wants a path."""
    if step.command:
        command = step.command.replace("$CMDLINE_OPTS", step.options)
        return _shell(step.module, command, flavour)
    by_itself = step.has_softdeps and flavour is Flavour.KMOD
    if step.path and (step.shadowed or step.beside_command or by_itself):
        path = step.path if step.path.startswith("/") else f"{modules_dir}/{step.path}"
        return Invocation(Tool.INSMOD, (path, *option_words(step.options)))
    flags = () if step.blacklisted else ("-b",)
    options = () if _finds_options(step, flavour) else option_words(step.options)
    if options:
        return Invocation(Tool.MODPROBE, (*flags, "--", step.module, *options))
    return Invocation(Tool.MODPROBE, (*flags, "-a", "--", step.module), batch=bool(flags))


def bare_invocation(step: Step, modules_dir: str) -> Invocation:
    """Return how to carry out the step, and no more, whatever modprobe would make of it: by insmod, or the shell."""
    return invocation(step._replace(shadowed=True), Flavour.BUSYBOX, modules_dir)


def removal(module: str, command: str, flavour: Flavour) -> Invocation:
    """Return how to remove a module. command: that of its `remove` line, which kmod's modprobe finds itself."""
    if command and flavour is Flavour.BUSYBOX:
        return _shell(module, command, flavour)
    return Invocation(Tool.MODPROBE, ("-r", "--", module))


def _shell(module: str, command: str, flavour: Flavour) -> Invocation:
    """How to run the command of an install or remove line: as if its modprobe were kmod's."""
    environment = (("MODPROBE_MODULE", module),)
    if flavour is Flavour.BUSYBOX and "modprobe" in command:
        for path in ("/usr/sbin/modprobe", "/sbin/modprobe"):
            command = _with_path(command, path, INSTALL_MODPROBE)
        # a function, since busybox's shell takes a bare name for its own applet before it looks along PATH
        command = f'modprobe() {{ {INSTALL_MODPROBE} "$@"; }}\n{command}'
    return Invocation(Tool.SHELL, ("-c", command), environment)


def _with_path(command: str, path: str, instead: str) -> str:
    """Return the command with another program in the place of `path`, where that is not a part of a longer path."""
    done, rest = "", command
    while path in rest:
        before, _, rest = rest.partition(path)
        done += before
        whole = not _goes_on(done[-1:]) and not _goes_on(rest[:1])
        done += instead if whole else path
    return done + rest


def _goes_on(character: str) -> bool:
    return character.isalnum() or (character != "" and character in "/._-+")


def option_words(options: str) -> tuple[str, ...]:
    """Split the options' text into arguments: cut at blanks outside double quotes, quotes around values taken off."""
    return tuple(_unquoted(word) for word in split_words(options))


def _unquoted(word: str) -> str:
    name, equals, value = word.partition("=")
    if len(value) > 1 and value[0] == value[-1] == '"' and '"' not in value[1:-1]:
        return name + equals + value[1:-1]
    return word


def _finds_options(step: Step, flavour: Flavour) -> bool:
    """Return whether that modprobe, given the bare name, passes the very same options."""
    if flavour is Flavour.KMOD:
        return step.options == step.plain_options
    return not step.options
