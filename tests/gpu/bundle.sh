#!/bin/bash
# Puts the shared libraries that programs need beside them, glibc's own excepted, and tries the first
# program with nothing else at hand.
# Usage: tests/gpu/bundle.sh FOLDER PROGRAM...     the programs, in FOLDER; linked with rpath $ORIGIN
set -euo pipefail
folder=$1
shift
readonly MOST=$((30 << 20)) glibc='/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv))\.so\.[0-9]+$'

# needed PROGRAM: the files of its libraries, glibc's left out.
needed() {
    env -i ldd "$1" | awk '$2 == "=>" {print $3}' | grep -Ev "$glibc"
}
for program in "$@"; do needed "$program"; done | sort -u | while read -r file; do
    case $file in
    "$(realpath "$folder")"/* | "$folder"/*) ;;
    *) cp -L "$file" "$folder" ;;
    esac
done

for program in "$@"; do
    strays=$(needed "$program" | xargs -rn1 realpath | grep -v "^$(realpath "$folder")/" || true)
    [ -z "$strays" ] || { echo "error: $program takes from elsewhere: $strays" >&2; exit 1; }
done
bytes=$(du -sb "$folder" | cut -f1)
[ "$bytes" -le $MOST ] || { echo "error: $folder has $bytes bytes, at most $MOST are wanted" >&2; exit 1; }

if [ "$(id -u)" = 0 ]; then # a root with glibc and the folder alone
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    env -i ldd "$1" | grep -oE '/[^ ]+' | grep -E "$glibc" | while read -r file; do
        install -D "$(realpath "$file")" "$root$file"
    done
    cp -r "$folder" "$root/gpu"
    env -i chroot "$root" "/gpu/$(realpath --relative-to="$folder" "$1")" version
else
    env -i "$1" version
fi
echo "$folder: $((bytes >> 20)) MiB"
