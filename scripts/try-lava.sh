#!/usr/bin/env bash
# Has LAVA's dispatcher play the jobs of a matrix, without a server: each case has to pass, but for one that has to fail.
# For a machine that may be changed: make test-bare RELEASE=bookworm USER_KIND=root COMMANDS=test-lava has one.
# Usage: try-lava.sh HOSTBUILD
set -euo pipefail
hostbuild=$(realpath "$1")
as_root=()
((EUID == 0)) || as_root=(sudo)
place=$(mktemp -d)
trap '"${as_root[@]}" rm -rf "$place"' EXIT
chmod 755 "$place" # apt fetches as a user of its own
cd "$place"
say() { echo "try-lava: $*"; }

apt-get download -qq lava-server 2>log || { cat log >&2 && exit 1; }
dpkg-deb -x lava-server_*.deb server # for the templates of its device types
cat >matrix.toml <<'END'
kernels = ["deb:linux-image-amd64"]
machines = ["virtio"]
accel = "tcg"
append = "quiet"
[tests.boot]
[tests.says]
command = "modprobe loop && test -d /sys/module/loop; echo \"it's\"; exit 3"
[tests.fails]
command = "false"
[[expect]]
test = "says"
status = 3
[[expect]]
modules = ["virtio-net"]
bound = ["virtio_net"]
END
# What LAVA's server does: the device dictionary, and the job's context, through the template.
cat >device.py <<'END'
import sys, jinja2, yaml
job = yaml.safe_load(open(sys.argv[1]))
loader = jinja2.FileSystemLoader("server/usr/share/lava-server/device-types")
text = "{% extends 'qemu.jinja2' %}\n{% set mac_addr = '52:54:00:12:34:59' %}\n"
print(jinja2.Environment(loader=loader, trim_blocks=True).from_string(text).render(**job["context"]))
END
# The results in a dispatcher's log, a line of YAML each; status 1 where one is not as it should be, or there are none.
cat >results.py <<'END'
import sys, yaml
found = [yaml.safe_load(line)["msg"] for line in open(sys.argv[1]) if '"lvl": "results"' in line]
own = {one["case"]: one["result"] for one in found if one["definition"].startswith("0_")}
job = [one["result"] for one in found if one["case"] == "job"]
print(", ".join(f"{case} {result}" for case, result in own.items()))
wanted = {case: "fail" if case == "fails" else "pass" for case in own}
sys.exit(job != ["pass"] or len(own) < 2 or own != wanted)
END
"$hostbuild" matrix matrix.toml --emit lava -o jobs >/dev/null
echo "dispatcher_ip: 127.0.0.1" >dispatcher.yaml
for job in jobs/*.yaml; do
    /usr/bin/python3 device.py "$job" >device.yaml
    mkdir out
    "${as_root[@]}" timeout 900 lava-run --device device.yaml --dispatcher dispatcher.yaml --job-id 1 --output-dir out \
        "$job" >log 2>&1 || { tail -n 20 log >&2 && exit 1; }
    results=$(/usr/bin/python3 results.py log) || { say "$job: not as expected: $results" >&2 && exit 1; }
    say "$(basename "$job" .yaml): $results"
    "${as_root[@]}" rm -rf out
done
say "played by lava-dispatcher $(dpkg-query -W -f='${Version}' lava-dispatcher)"
