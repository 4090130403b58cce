"""A program beside QEMU: started with its words in a file, and ended when its machine is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostbuild.run import require_program, spawn

# As QEMU itself: should we be killed outright, the kernel ends it (prctl(2), PR_SET_PDEATHSIG).
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True, slots=True)
class Beside:
    """A program that was started. poll: its status, None while it runs. log: what it says."""

    poll: Callable[[], int | None]
    log: Path

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.poll() is not None

    @property
    def words(self) -> str:
        """What it said, "it said nothing" where it did not."""
        return self.log.read_text("utf-8", "replace").strip() or "it said nothing"


@contextmanager
def beside(
    argv: Sequence[str], log: Path, *, before: Sequence[str] = (), pass_fds: Sequence[int] = ()
) -> Iterator[Beside]:
    """Start a program, which is killed when the context ends.

    before: what starts it with other credentials, after which alone it can be bound to this process's life.
    Raises ToolMissingError where it is not installed.
    """
    require_program(argv[0])  # setpriv would not say which package brings it
    with log.open("wb") as said:
        process = spawn(
            [*before, *_WITH_US, *argv], stdout=said, stderr=said, new_session=True, pass_fds=pass_fds
        )
    try:
        yield Beside(process.poll, log)
    finally:
        process.kill()
        process.wait()
