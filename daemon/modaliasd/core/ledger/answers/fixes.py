"""What fixes a load that failed or was denied: the command or the step, by the kind of its failure."""

from __future__ import annotations

from modaliasd.core.loading.outcome import FailureKind, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.history import History
    from modaliasd.core.ledger.history_values import LoadHistory

FIXES = {  # of loads that failed; for other kinds the kernel's log has to tell
    FailureKind.WRONG_KERNEL: "hostbuild make-image --kernel KERNEL, with the kernel that is booted",
    FailureKind.COMPRESSED: "hostbuild make-image, which unpacks modules; or --modprobe kmod",
    FailureKind.NO_MEMORY: "hostbuild run --memory SIZE, with more than now",
    FailureKind.SIGNATURE: "sign the module for this kernel, or boot without module.sig_enforce=1",
    FailureKind.LOCKDOWN: "sign the module with a key that this kernel knows, or boot without lockdown=",
    FailureKind.MODULES_DISABLED: "find who sets kernel.modules_disabled (sysctl.d, init), and boot again",
    FailureKind.NOT_PERMITTED: "run the daemon as root with CAP_SYS_MODULE",
    FailureKind.BAD_PARAMETER: "modaliasd check-config, which knows the module's parameters",
    FailureKind.DEPENDENCY_CYCLE: "depmod, which names the modules in the cycle",
    FailureKind.UNSAFE_NAME: "rename the module's file",
}


_CHAIN = 64  # modules that need one another: real chains have some ten


def fix_of(history: History, name: str, load: LoadHistory) -> str:
    """Return what to do about a load of `name`; about the first that failed, if it failed for lack of another."""
    root = _root_of(history, load)
    module = name if root is load else root.module
    if root.failure is FailureKind.NOT_IN_IMAGE:
        return fix_of_absence(history, module)
    if root.failure is FailureKind.MODULE_BLACKLIST:
        return f"take {module} out of module_blacklist= on the kernel's command line"
    if root.outcome == Outcome.DENIED.value:
        return f"take that line away, or load it by hand: modprobe {shell_word(module)}"
    fix = FIXES.get(root.failure) if root.failure is not None else None
    return fix or f"dmesg | grep -i {shell_word(module)}"


def fix_of_absence(history: History, name: str) -> str:
    """Return how to come by a module that is not there: in another image, or on a full system from a package."""
    if history.watched:
        kernel = history.start.get("kernel") or "$(uname -r)"
        return f"install the package that brings it for {kernel}, or build it for that kernel; then: depmod"
    return image_with(name)


def image_with(name: str) -> str:
    """Return how to make an image that has the module."""
    return f"hostbuild make-image --modules {shell_word(f'qemu,{name}')} (put your own selection in place of `qemu`)"


def shell_word(name: str) -> str:
    """Return the name as one word of a shell, for people to copy: a ledger's names are somebody else's."""
    if name and all(char.isalnum() or char in "_-,." for char in name) and name[0] != "-":
        return name
    return "'" + name.replace("'", "'\\''") + "'"


def _root_of(history: History, load: LoadHistory) -> LoadHistory:
    """Return the load that failed first, for lack of which this one failed; itself, if it failed by itself."""
    seen = {load.module}
    while load.failure is FailureKind.DEPENDENCY and load.blocked_by not in seen and len(seen) < _CHAIN:
        need = history.load_of(load.blocked_by)
        if need is None or need.succeeded:
            break
        seen.add(need.module)
        load = need
    return load
