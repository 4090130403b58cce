"""Workers as the engine sees them: what they offer, what people call them, whether they are of use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hostbuild.matrix.asked.job import Job
from hostbuild.matrix.workers.worker import versions


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker, by what it offers."""

    guests: float
    memory: float

    def holds(self, job: Job) -> bool:
        """Tell whether it could boot a cell, were it idle."""
        return self.guests >= 1 and self.memory >= job.memory


def seat_of(worker: Mapping[str, Any]) -> Seat:
    """Return what a worker offers, by what the scheduler knows of it."""
    resources = worker.get("resources", {})
    return Seat(float(resources.get("guest", 0)), float(resources.get("memory", 0)))


def name_of(address: str, worker: Mapping[str, Any]) -> str:
    """Return what a worker was called where it was started; its address if nothing."""
    name = worker.get("name")
    return name if isinstance(name, str) and name else address


def admitted(answer: object) -> tuple[bool, str]:
    """Return whether a worker is of use, by what it says of itself, and what there is to tell of it."""
    ours, distributed = versions()
    if not isinstance(answer, tuple):
        answer = (answer, distributed)
    if not isinstance(answer[0], str):
        return False, f"{answer[0]}"
    if answer[0] != ours:
        return False, f"its hostbuild is {answer[0]}, not {ours}"
    other = answer[1] != distributed
    return True, f"has distributed {answer[1]}, not {distributed}: cells may be lost by that" if other else ""
