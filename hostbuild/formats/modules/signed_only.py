"""Whether a kernel takes modules without a signature, by its configuration and its command line. Pure.

Source: kernel/module/signing.c (module_sig_check), security/lockdown/lockdown.c, and the two's Kconfig.

    CONFIG_MODULE_SIG off     nobody looks at signatures
    MODULE_SIG_FORCE, module.sig_enforce, lockdown
                              what has none is refused
    otherwise                 it is loaded, and the kernel is tainted (E)

What is not known here: Debian's kernel locks itself down where UEFI's Secure Boot is on
(CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT, a patch of Debian's and Fedora's).
"""

from hostbuild.formats.kconfig import Config, value_of
from modaliasd.core.settings import split_words

_LOCKDOWN = ("integrity", "confidentiality")
_TRUE = ("", "1", "y", "yes", "on", "true")
_FORCING = (
    "MODULE_SIG_FORCE",
    "LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
    "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
)


def why_signed_only(config: Config | None, append: str) -> str:
    """Say why a kernel takes signed modules only; "" where it takes all, or is not known to refuse.

    config: None where it is not known. append: words of the command line; the last of a kind counts.
    """
    if looks_at_signatures(config) is False:
        return ""
    enforcing, locked = "", ""
    for word in split_words(append):
        name, _, value = word.replace("-", "_").partition("=")
        if name == "module.sig_enforce" and value.lower() in _TRUE:
            enforcing = word  # nothing takes it back
        elif name == "lockdown" and (config is None or value_of(config, "SECURITY_LOCKDOWN_LSM") == "y"):
            locked = locked or (word if value in _LOCKDOWN else "")
    if enforcing or locked:
        return f"{enforcing or locked} on the command line"
    forcing = (option for option in _FORCING if config is not None and value_of(config, option) == "y")
    return next((f"CONFIG_{option}" for option in forcing), "")


def looks_at_signatures(config: Config | None) -> bool | None:
    """Return whether the kernel looks at signatures at all; None where its configuration is not known."""
    return None if config is None else value_of(config, "MODULE_SIG") == "y"
