"""A module tried in a guest that has settled: loaded if no device had it loaded, and looked at."""

from collections.abc import Sequence

from hostbuild.errors import GuestError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Completed, request, run_to_end
from hostbuild.live.verdict import Found, Match, log_about, matches_of, near_devices
from hostbuild.qemu.vm import VM

_LIMIT_S = 60.0
# What a module has registered, and who drives the devices that are given: a line each, blanks between.
_LOOK = """\
m=$1; shift
[ -d "/sys/module/$m" ] && echo loaded
for link in /sys/module/"$m"/drivers/*; do
    [ -L "$link" ] || continue
    echo "driver ${link##*/}"
    for one in "$link"/*; do
        [ -L "$one" ] && [ "${one##*/}" != module ] && echo "drives ${link##*/} $(readlink -f "$one")"
    done
done
for device; do
    [ -L "/sys$device/driver" ] && link=$(readlink "/sys$device/driver") && echo "driven $device ${link##*/}"
done
exit 0
"""


def try_module(vm: VM, agent: Agent, name: str, aliases: Sequence[str]) -> Found:
    """Look at a module in a guest that has settled; one that is not loaded is loaded by its name first.

    Raises GuestError for a guest that dies of it, or does not answer.
    """
    matched, others = matches_of(vm.ledger, name)
    before = _log(agent)
    loaded, _, _ = _look(agent, name, ())
    message = failure = ""
    if not loaded:
        failed = [one for one in vm.ledger if one["type"] == "load" and one.get("module") == name]
        if failed:
            message, failure = (str(failed[-1].get(key, "")) for key in ("message", "failure"))
        done = _run(agent, ["modprobe", name])
        message = done.stderr.decode("utf-8", "replace") or message
    now, drivers, driven = _look(agent, name, [*matched, *others])
    log = _log(agent)
    matches = tuple(
        Match(path.rpartition("/")[2], modalias, alias, driven.get(path, ""))
        for path, (modalias, alias) in sorted(matched.items())
    )
    words = [
        name,
        *(driver.partition(":")[2] for driver in drivers),
        *(match.device for match in matches),
        *(device for devices in drivers.values() for device in devices),
    ]
    about = log_about(log, words) if loaded else [*log_about(before, words), *log[len(before) :]]
    return Found(
        name,
        now,
        drivers,
        matches,
        tuple(near_devices(others, driven, aliases)),
        by_name=not loaded and not matched,
        failure=failure,
        message=message,
        log=tuple(about),
    )


def _look(
    agent: Agent, name: str, devices: Sequence[str]
) -> tuple[bool, dict[str, tuple[str, ...]], dict[str, str]]:
    """Return whether a module is loaded, what its drivers drive, and the drivers of devices."""
    drivers: dict[str, tuple[str, ...]] = {}
    driven: dict[str, str] = {}
    loaded = False
    for line in _run(agent, ["sh", "-c", _LOOK, "look", name, *devices]).output.splitlines():
        what, _, rest = line.partition(" ")
        one, _, other = rest.partition(" ")
        if what == "loaded":
            loaded = True
        elif what == "driver":
            drivers.setdefault(one, ())
        elif what == "drives":
            drivers[one] = (*drivers.get(one, ()), other.rpartition("/")[2])
        elif what == "driven":
            driven[one] = other
    return loaded, drivers, driven


def _log(agent: Agent) -> list[str]:
    return _run(agent, ["dmesg"]).stdout.decode("utf-8", "replace").splitlines()


def _run(agent: Agent, argv: Sequence[str]) -> Completed:
    done = run_to_end(agent, request(argv), timeout=_LIMIT_S)
    if done is None:
        raise GuestError(f"{' '.join(argv[:2])} did not end within {_LIMIT_S:g} s in the guest")
    return done
