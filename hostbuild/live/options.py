"""What `hostbuild run` and its kin boot, as one value: what the options say, checked, made into a session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.errors import UsageError
from hostbuild.formats.manifest import manifest_path, read_manifest
from hostbuild.guest.network import Forward, network_argv
from hostbuild.guest.requirements import has_agent, require_agent, require_share_modules
from hostbuild.guest.share import Share, Transport, check_places
from hostbuild.live.folders import carried
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.session import Session, prepare

NOBODY_LOOKS_S = 600.0  # the time limit where no terminal is there to end the machine from


@dataclass(frozen=True, slots=True)
class GuestOptions:
    """What to boot. As hostbuild.qemu.session.prepare has them, and:

    cpus: None is the machine's own. share_by: what carries shares. network: the guest reaches other machines.
    qemu: more of QEMU's arguments. made_of: the kernel that the image was made of by the same command, "" for an image
    that the user named.
    """

    image: Path
    machine: Machine
    kernel: str | None = None
    append: str = ""
    memory: str | None = None
    accel: str = "auto"
    icount: bool = False
    cpus: int | None = None
    shares: tuple[Share, ...] = ()
    share_by: Transport = Transport.NINE_P
    forwards: tuple[Forward, ...] = ()
    network: bool = False
    qemu: tuple[str, ...] = ()
    made_of: str = ""
    pvh: bool = False
    dtb: Path | None = None

    def has_agent(self) -> bool:
        """Return whether the image's manifest names the agent; an image without a manifest is not looked into."""
        path = manifest_path(self.image)
        return path.exists() and has_agent(self.image, read_manifest(self.image))

    def session(
        self,
        *,
        limit_s: float,
        agent: bool = False,
        poweroff: bool = False,
        quiet: bool = False,
        shell: bool = False,
    ) -> Session:
        """Make the boot ready. Raises as prepare does, and InputError for an image that lacks what is asked for."""
        check_places(self.shares)
        machine = self.machine if self.cpus is None else replace(self.machine, cpus=self.cpus)
        added = network_argv(self.forwards, is_open=self.network)
        agent = agent or bool(self.shares)
        if (agent or added) and machine.board.serial_lines == 1:
            raise UsageError(
                f"the machine {machine.name} has one serial line and no PCI: no command and no shared folder for it",
                hint="--machine virtio",
            )
        session = prepare(
            self.image,
            machine,
            kernel=self.kernel,
            append=self.append,
            memory=self.memory,
            accel=self.accel,
            icount=self.icount,
            agent=agent,
            poweroff=poweroff,
            quiet=quiet,
            shell=shell,
            pvh=self.pvh,
            dtb=self.dtb,
            extra=[*added, *self.qemu],
            limit_s=limit_s,
        )
        if agent:
            require_agent(self.image, session.manifest)
        shares = carried(session, self.shares, self.share_by)
        require_share_modules(self.image, session.manifest, shares, self.made_of)
        boot = replace(session.boot, shares=shares)
        return replace(session, boot=boot, notes=(*session.notes, *self._notes(session)))

    def _notes(self, session: Session) -> Sequence[str]:
        wanted = self.forwards or self.network
        if not wanted or not session.manifest or "network" in session.manifest["groups"]:
            return ()
        return (
            "the image has no network helper, so nothing gives its card an address: make-image --with network; or in "
            "the guest: ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2",
        )


def split_words(text: str) -> list[str]:
    """Take the words of a --qemu-arg apart, as a shell would. Raises UsageError."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as e:
        raise UsageError(f"--qemu-arg {text!r}: {e}") from e
