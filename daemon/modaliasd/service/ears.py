"""What hears of the world after the first walk's beginning: uevents, and clients.

The one list of what is imported once the first modprobe has been started (loop.py, Service.listen): whatever only this
imports costs the way there nothing. The uevent socket is open long before: what comes meanwhile waits in it.
"""

from __future__ import annotations

from modaliasd.linux.control import Control
from modaliasd.service.clients.serve import Clients
from modaliasd.service.intake import Intake

__all__ = ["Clients", "Control", "Intake"]
