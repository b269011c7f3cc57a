#!/bin/bash
# Puts the shared libraries that programs need beside them, glibc's own excepted, and tries the first
# program with nothing else at hand.
# Usage: tests/gpu/bundle.sh FOLDER PROGRAM...     the programs, in FOLDER; linked with rpath $ORIGIN
set -euo pipefail
folder=$1
shift
readonly MOST=$((30 << 20)) GLIBC=2.34 glibc='/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv))\.so\.[0-9]+$'

# needed PROGRAM: the files of its libraries, glibc's left out.
needed() {
    env -i ldd "$1" | awk '$2 == "=>" {print $3}' | grep -Ev "$glibc"
}
rm -f "$folder"/*.so.* # of a bundle that was made before
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
for file in "$@" "$folder"/*.so.*; do # that of RHEL 9; Ubuntu 22.04 has 2.35, Debian 12 has 2.36
    newest=$(objdump -T "$file" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
    [ "$(printf '%s\n' "$newest" "GLIBC_$GLIBC" | sort -V | tail -n 1)" = "GLIBC_$GLIBC" ] ||
        { echo "error: $file needs $newest, wanted is $GLIBC at most" >&2; exit 1; }
done
# small WHAT BYTES MOST
small() {
    [ "$2" -le "$3" ] || { echo "error: $1: $2 bytes, at most $3 are wanted" >&2; exit 1; }
}
one=$(du -cbL "$1" "$folder"/*.so.* | tail -n 1 | cut -f1) all=$(du -sb "$folder" | cut -f1)
small "$folder" "$all" $MOST

if [ "$(id -u)" = 0 ]; then # a root with glibc and the folder alone; without /proc $ORIGIN must be told
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    env -i ldd "$1" | grep -oE '/[^ ]+' | grep -E "$glibc" | while read -r file; do
        install -D "$(realpath "$file")" "$root$file"
    done
    cp -r "$folder" "$root/gpu"
    env -i LD_ORIGIN_PATH=/gpu "$(command -v chroot)" "$root" "/gpu/$(realpath --relative-to="$folder" "$1")" version
else
    env -i "$1" version
fi
echo "$1 and its libraries: $((one >> 20)) MiB; $folder: $((all >> 20)) MiB"
