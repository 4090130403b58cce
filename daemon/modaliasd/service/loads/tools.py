"""What inserts and removes modules here, and how each job is put to it."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.invocation import Tool, bare_invocation, invocation, removal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from modaliasd.core.kmod.invocation import Flavour, Invocation
    from modaliasd.core.kmod.plan import Step
    from modaliasd.core.loading.load import Job, Needs

    Program = tuple[str, list[str], tuple[tuple[str, str], ...]]  # its path, its arguments, its environment


class Tools(NamedTuple):
    """What inserts modules here: the programs' paths, whose modprobe it is, and where modules.dep lies."""

    modprobe: str
    insmod: str
    shell: str
    flavour: Flavour
    modules_dir: str
    cpus: int = 1

    def is_single(self, step: Step) -> bool:
        """Return whether the module goes in by a process of its own, for its options or its command."""
        return not invocation(step, self.flavour, self.modules_dir).batch

    def program(self, job: Job, steps: Mapping[str, Step], needs: Mapping[str, Needs]) -> Program:
        """Return the program that carries the job out, its arguments, and what it finds in its environment."""
        last = job.modules[-1]
        if job.bare:
            return self._run(bare_invocation(steps[last], self.modules_dir))
        if not needs[last].single:
            return self.modprobe, ["-b", "-a", "--", *job.targets], ()
        return self._run(invocation(steps[last], self.flavour, self.modules_dir))

    def remover(self, module: str, command: str) -> Program:
        """Return the program that removes a module that nothing needs. command: its `remove` line's."""
        return self._run(removal(module, command, self.flavour))

    def _run(self, how: Invocation) -> Program:
        paths = {Tool.MODPROBE: self.modprobe, Tool.INSMOD: self.insmod, Tool.SHELL: self.shell}
        return paths[how.tool], list(how.arguments), how.environment
