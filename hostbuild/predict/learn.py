"""Which modules a machine used, so that an image can be made of just these. Pure.

A ledger tells what was in the kernel at its end: that is what is taken. A capture of a machine that does more than
boot has many modules that no device asked for (firewalls, containers), so of these only the ones count that drive a
device or that a device's modalias matches. A umockdev recording knows no modules: all that is predicted is taken.
Modules that the kernel to be booted does not have are replaced by what the devices ask for there.
What the chosen modules need (modules.dep, softdeps, firmware) comes as for any selection.
"""

from dataclasses import dataclass

from hostbuild.errors import InputError
from hostbuild.predict.capture import Capture, CaptureKind
from hostbuild.predict.prediction import Target
from hostbuild.predict.simulate import predict


@dataclass(frozen=True, slots=True)
class Learned:
    """The modules to carry, sorted. lacking: those that the machine used and this kernel has under no name."""

    modules: tuple[str, ...]
    lacking: tuple[str, ...]


def learn(capture: Capture, target: Target) -> Learned:
    """Choose modules of `target` for the machine of `capture`. Raises InputError where it used none."""
    prediction = predict(capture, target)
    predicted = {*prediction.modules, *prediction.requested}
    if capture.modules is None:
        chosen, lacking = predicted, set[str]()
    else:
        driving = {one.module for one in capture.devices if one.module}
        matched = {module for device in prediction.devices for module in device.modules}
        used = set(capture.modules)
        if capture.source is not CaptureKind.LEDGER:
            used &= driving | matched
        lacking = {module for module in used if not target.has(module)}
        chosen = {module for module in used - lacking if not target.is_builtin(module)}
        replaced = {one.devpath for one in capture.devices if one.module in lacking}
        for device in prediction.devices:
            if device.devpath in replaced:
                chosen |= predicted.intersection(device.modules)
    if not chosen:
        raise InputError(
            "nothing can be learned: no module was in use on that machine",
            hint="a capture or a ledger of the machine with its drivers loaded",
        )
    return Learned(tuple(sorted(chosen)), tuple(sorted(lacking)))
