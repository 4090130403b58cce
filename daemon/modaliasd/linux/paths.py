"""Where the daemon's files are in the guest; the one place that says so."""

from __future__ import annotations

RUN_DIRECTORY = "/run/modaliasd"
LEDGER = RUN_DIRECTORY + "/ledger.jsonl"
CONTROL = RUN_DIRECTORY + "/control"
LOCK = RUN_DIRECTORY + "/lock"  # held by who writes the ledger (lock.py)
LIVES = RUN_DIRECTORY + "/lives"  # how many daemons this boot has had
FAILURE = RUN_DIRECTORY + "/failure"  # why the last daemon failed, how often in a row, and when (failure.py)
CRASH = RUN_DIRECTORY + "/crash"  # the last failure's traceback
MODULES = "/lib/modules"  # one directory a kernel below it
SETTLED_HOOK = "/usr/lib/micro/settled"  # run once, after the first settle
SETTLED_MARK = RUN_DIRECTORY + "/settled-hook-ran"
POLICY = "/etc/modaliasd/policy.toml"
HOTPLUG_MARK = RUN_DIRECTORY + "/hotplug"  # the coldplug has ended, though it has not settled
FROZEN_MARK = RUN_DIRECTORY + "/frozen"
FROZEN_HELPER = "/usr/lib/micro/frozen-modprobe"  # what the kernel calls for modules once frozen
REQUESTS = RUN_DIRECTORY + "/requests"  # whom the kernel asked for modules for (requests.py)
KERNEL_HELPER = "/proc/sys/kernel/modprobe"
MODPROBE = "/sbin/modprobe"
INSMOD = "/sbin/insmod"
SHELL = "/bin/sh"
KMSG = "/dev/kmsg"
