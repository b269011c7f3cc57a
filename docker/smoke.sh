#!/bin/bash
# Builds the image and tries it the way it is meant to run: an unknown user, a read-only root, no
# capabilities, a memory limit. `make container-test` calls this.
#
# Needs root (or sudo); installs podman, buildah, runc and mmdebstrap when they are missing. Where
# containers cannot run at all it prints "SKIP" and why, and exits with 0. KEEP=1 keeps the image.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "SKIP container test: neither root nor sudo"; exit 0; }
    exec sudo --preserve-env=KEEP,XDG_CACHE_HOME,HOME "$0" "$@"
fi
tests/tools/apt.sh podman buildah runc netavark aardvark-dns iptables mmdebstrap catatonit python3 \
    python3-pip
for program in podman buildah runc mmdebstrap; do
    command -v "$program" >/dev/null || { echo "SKIP container test: no $program"; exit 0; }
done
unshare --mount --pid --fork true 2>/dev/null ||
    { echo "SKIP container test: this machine does not allow namespaces"; exit 0; }

work=$PWD/build/image image=localhost/inferd:test base=localhost/debian:12-slim id=""
mkdir -p "$work"
# runc and plain limits: crun and podman's own defaults want to raise limits, which a container that
# runs containers may not.
cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[network]
network_backend = "netavark"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_CONF=$work/containers.conf

clean_up() {
    [ -z "$id" ] || podman rm --force --time 1 "$id" >/dev/null 2>&1 || true
    [ -n "${KEEP:-}" ] || podman rmi --force "$image" >/dev/null 2>&1 || true
    podman image prune --force >/dev/null 2>&1 || true
}
trap clean_up EXIT

die() {
    echo "container test: $*" >&2
    [ -z "$id" ] || podman logs "$id" 2>&1 | tail -n 20 >&2
    exit 1
}
step() { printf '%5d s  %s\n' "$SECONDS" "$*"; }

# ask PATH [BODY]: the reply of the published port
ask() {
    python3 - "$port" "$@" <<'PY'
import sys, urllib.request
port, path, *body = sys.argv[1:]
request = urllib.request.Request(f'http://127.0.0.1:{port}{path}',
    body[0].encode() if body else None, {'Content-Type': 'application/json'})
sys.stdout.write(urllib.request.urlopen(request, timeout=60).read().decode())
PY
}

if ! podman image exists "$base"; then
    docker/mkbase.sh "$work/base.tar"
    podman import --quiet --change 'CMD ["bash"]' "$work/base.tar" "$base" >/dev/null
    step "base image"
fi

sources=()
for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    [ ! -f "$file" ] || sources+=(--volume "$file:$file:ro")
done
# The docker format: the other has no health check.
buildah bud --quiet --pull-never --format docker --timestamp "${SOURCE_DATE_EPOCH:-1735689600}" \
    --ignorefile docker/Dockerfile.cpu.dockerignore --build-arg BASE="$base" "${sources[@]}" \
    --file docker/Dockerfile.cpu --tag "$image" . >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log" >&2; die "the image does not build"; }
step "image"

# What is in it: no compiler, no sources, no mirror; not too large.
root=$(podman image mount "$image")
for path in /usr/bin/gcc /usr/bin/curl /src; do
    [ ! -e "$root$path" ] || die "$path is in the image"
done
mirrors=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
    grep -oE 'https?://[^/ ]+' | sed 's|.*//||' | sort -u) || true
for host in $mirrors; do
    case $host in *.debian.org) continue ;; esac
    ! grep -rqF -- "$host" "$root/etc" "$root/var" 2>/dev/null ||
        die "the name of the package mirror is in the image"
done
megabytes=$(du -sm "$root" | cut -f1)
podman image unmount "$image" >/dev/null
[ "$megabytes" -le 160 ] || die "the image has $megabytes MB; at most 160"
step "contents, $megabytes MB"

# It runs.
model=$(models/fetch.sh) || die "no model to serve"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
id=$(podman run --detach --user 12345:0 --read-only --read-only-tmpfs=false --cap-drop ALL \
    --security-opt no-new-privileges --memory 2g --pids-limit 256 \
    --publish "127.0.0.1:$port:8000" --volume "$model:/models/model.gguf:ro" \
    --env INFERD_MODEL=/models/model.gguf --env INFERD_CTX=2048 --env INFERD_MAX_SEQS=4 \
    "$image" 2>"$work/run.log") || { cat "$work/run.log" >&2; id=""; die "the container does not start"; }
for ((n = 0; ; n++)); do
    podman healthcheck run "$id" >/dev/null 2>&1 && break
    [ "$(podman inspect -f '{{.State.Running}}' "$id")" = true ] || die "it ended on its own"
    [ "$n" -lt 300 ] || die "not healthy after 60 s"
    sleep 0.2
done
step "healthy"
who=$(podman top "$id" user,group,capeff 2>/dev/null | tail -n 1 | tr -s ' \t' ' ')
case $who in "12345 "*" none" | "12345 root none"*) ;; *) die "runs as \"$who\"" ;; esac

answer=$(ask /v1/chat/completions '{"messages": [{"role": "user", "content": "Who wrote Romeo and Juliet?"}],
    "temperature": 0, "max_tokens": 40}')
case $answer in *Shakespeare*) ;; *) die "answered: $answer" ;; esac
step "answers"

# SIGTERM to PID 1: the running stream ends whole, then the process, with 0.
ask /v1/completions '{"prompt": "Once upon a time", "max_tokens": 200, "ignore_eos": true, "stream": true}' \
    >"$work/stream" &
stream=$!
for ((n = 0; n < 100; n++)); do
    ask /v1/metrics | grep -qE '^num_requests_running.* [1-9]' && break
    sleep 0.02
done
podman stop --time 40 "$id" >/dev/null 2>&1
wait "$stream" || die "the running stream was cut off"
grep -q 'data: \[DONE\]' "$work/stream" || die "the running stream did not come to its end"
code=$(podman inspect -f '{{.State.ExitCode}}' "$id")
[ "$code" = 0 ] || die "exit code $code after SIGTERM"
step "drains"
echo "container test: passed"
