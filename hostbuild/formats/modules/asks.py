"""Which modules a driver, or the kernel itself, asks for by name while it runs. Pure.

A driver that wants a cipher, a character set or a helper calls a function that ends in request_module
(kernel/module/kmod.c), and the kernel runs modprobe with a word. No table of depmod's says so. What can be seen is the
function (an undefined symbol) and the strings that the module has, above all those that it hands to it:

    __request_module                      the word itself, or its format: "dm-%s"
    crypto_alloc_*, _has_*, _grab_*       an algorithm: crypto-crc32c (crypto/api.c, crypto_larval_lookup)
    load_nls                              a character set: nls_utf8 (fs/nls/nls_base.c)
    load_nls_default                      that of CONFIG_NLS_DEFAULT
    xt_request_*, nft_request_module      netfilter's matches, targets and expressions

An algorithm may be made of several: hmac(sha256) is crypto-hmac and crypto-sha256, and the whole is asked for, too.
Where the word depends on what the driver is told (`dm-%s`), it may be any of a family: dm-*.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hostbuild.formats.elf_references import References, references, strings_of

_REQUEST, _LOAD_NLS, _NLS_DEFAULT = "__request_module", "load_nls", "load_nls_default"
_CRYPTO = re.compile(r"crypto_(?:alloc|has|grab)_\w+")
_FOLLOWED = re.compile(rf"{_REQUEST}|{_LOAD_NLS}|{_NLS_DEFAULT}|{_CRYPTO.pattern}")
_MARKS = (b"__request_module", b"load_nls", b"crypto_alloc_", b"crypto_has_", b"crypto_grab_")
_WORD = re.compile(r"[A-Za-z0-9][\w:.,+-]*")  # of a request; an alias or a module's name
_ALGORITHM = re.compile(r"[a-z0-9][\w%().,/-]*")
_CONVERSION = re.compile(r"%[-+ #0]*\d*(?:\.(?:\d+|\*))?(?:hh?|ll?|z)?[a-z]")
_FORMAT = re.compile(r"[a-z0-9][\w:-]*[-_:](?:%[\w.*]+[\w:-]*)+")  # "fs-%s", but not "%s" nor "sd%c"
_CHARSET = re.compile(r"[a-z][a-z0-9_-]*")
_ANY = "%s"
_TELLING = re.compile(
    r"(?=.*[-_0-9])[a-z][\w-]{3,}"
)  # a string that is hardly there for another reason if a module is called so
# The formats of what is built in on most kernels, and where; a kernel has those of its own.
_KERNEL_FORMATS = (
    "act_%s",  # net/sched/act_api.c
    "binfmt-%04x",  # fs/exec.c
    "block-major-%d",  # block/genhd.c
    "block-major-%d-%d",
    "char-major-%d",  # fs/char_dev.c
    "char-major-%d-%d",
    "cls_%s",  # net/sched/cls_api.c
    "cpufreq_%s",  # drivers/cpufreq/cpufreq.c
    "crypto-%s",  # crypto/api.c
    "ematch-kind-%u",  # net/sched/ematch.c
    "fs-%.*s",  # fs/filesystems.c
    "net-pf-%d",  # net/socket.c
    "net-pf-%d-proto-%d",  # net/netlink/af_netlink.c, net/ipv4/af_inet.c
    "net-pf-%d-proto-%d-family-%s",  # net/netlink/genetlink.c
    "net-pf-%d-proto-%d-type-%d",  # net/ipv4/inet_diag.c, net/core/sock_diag.c
    "net-pf-%d-proto-%d-type-%d-%d",  # net/ipv4/inet_diag.c
    "netdev-%s",  # net/core/dev_ioctl.c
    "nls_%s",  # fs/nls/nls_base.c
    "rtnl-link-%s",  # net/core/rtnetlink.c
    "rtnl-lwt-%s",  # net/core/lwtunnel.c
    "sch_%s",  # net/sched/sch_api.c
    "tcp_%s",  # net/ipv4/tcp_cong.c
    "tcp-ulp-%s",  # net/ipv4/tcp_ulp.c
    "ts_%s",  # lib/textsearch.c
    "tty-ldisc-%d",  # drivers/tty/tty_ldisc.c
    "xfrm-offload-%d-%d",  # net/xfrm/xfrm_state.c
    "xfrm-type-%d-%d",
    "zpool-%s",  # mm/zpool.c
)
# Functions of other modules that ask on behalf of their callers (net/netfilter/x_tables.c, nf_tables_api.c).
_XTABLES = ("xt_*", "ipt_*", "ip6t_*", "arpt_*", "ebt_*")
_FAMILIES = {
    "xt_request_find_match": _XTABLES,
    "xt_request_find_target": _XTABLES,
    "nft_request_module": ("nft-*",),
}
# What a module asks for with a number, or a name, of the kernel's configuration: the option, and the word.
_CONFIGURED = {
    "fat": (("FAT_DEFAULT_CODEPAGE", "nls_cp{}"), ("FAT_DEFAULT_IOCHARSET", "nls_{}")),
    _NLS_DEFAULT: (("NLS_DEFAULT", "nls_{}"),),
}


@dataclass(frozen=True, slots=True)
class Asks:
    """What somebody may ask for. words: as far as they are known, most of which are no module's; families: patterns.

    options: of the kernel's configuration, with the word that each makes.
    """

    words: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    options: tuple[tuple[str, str], ...] = ()

    def configured(self, config: Mapping[str, str]) -> frozenset[str]:
        """Give the words, with those that the kernel's configuration makes."""
        made = {word.format(config[option].strip('"')) for option, word in self.options if option in config}
        return self.words | made


NONE = Asks()


def asks_of_module(name: str, data: bytes) -> Asks:
    """Read what a module may ask for. Raises ElfError for a damaged one."""
    if not any(mark in data for mark in _MARKS):  # most ask for nothing
        return NONE
    found = references(data, _FOLLOWED)
    words, families = set(_requested(found)), set[str]()
    families.update(_family(format_) for format_ in words if _FORMAT.fullmatch(format_))
    words.update(list(_filled_in(words, found.strings)))
    for symbol, places in found.handed.items():
        if _CRYPTO.fullmatch(symbol):
            words.update(_algorithms(places, found.strings))
            if not all(any(map(_ALGORITHM.fullmatch, near)) for near in places):
                families.add("crypto-*")
        elif symbol == _LOAD_NLS:
            words.update(f"nls_{text}" for text in found.strings if _CHARSET.fullmatch(text))
            families.add("nls_*")
    families.update(family for symbol in found.symbols for family in _FAMILIES.get(symbol, ()))
    options = [*_CONFIGURED.get(name, ())]
    if _NLS_DEFAULT in found.symbols:
        options += _CONFIGURED[_NLS_DEFAULT]
    return Asks(frozenset(word for word in words if "%" not in word), frozenset(families), tuple(options))


def asks_of_kernel(data: bytes) -> Asks:
    """Read which families an unpacked kernel (vmlinux) may ask for.

    It has no symbols any more, and its strings name every algorithm that it could test; so no word of its own is known.
    """
    strings = set(strings_of(data))
    return Asks(families=frozenset(_family(text) for text in _KERNEL_FORMATS if text in strings))


def _requested(found: References) -> Iterator[str]:
    """Give the words and formats that request_module may be handed."""
    for near in found.handed.get(_REQUEST, ()):
        known = [text for text in near if _WORD.fullmatch(text) or _FORMAT.fullmatch(text)]
        # a name that comes from a table is no string of this place
        from_table = _WORD if _ANY in near else _TELLING
        yield from known or (
            text for text in found.strings if from_table.fullmatch(text) or _FORMAT.fullmatch(text)
        )


def _filled_in(formats: Iterable[str], strings: Iterable[str]) -> Iterator[str]:
    """Give what becomes of formats with one %s, filled in with the module's own strings."""
    plain = [text for text in strings if _WORD.fullmatch(text)]
    for text in formats:
        before, conversion, after = text.partition("%s")
        if conversion and "%" not in before + after and _FORMAT.fullmatch(text):
            yield from (before + word + after for word in plain)


def _algorithms(places: Iterable[tuple[str, ...]], strings: frozenset[str]) -> Iterator[str]:
    for near in places:
        known = [text for text in near if _ALGORITHM.fullmatch(text)]
        yield from _crypto_words(known or strings)


def _crypto_words(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not _ALGORITHM.fullmatch(name):
            continue
        for part in {name, *re.split(r"[(),]", name)}:
            if part and "%" not in part:
                yield from (f"crypto-{part}", f"crypto-{part}-all")


def _family(format_: str) -> str:
    return _CONVERSION.sub("*", format_)
