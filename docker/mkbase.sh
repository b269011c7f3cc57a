#!/bin/bash
# Makes a Debian 12 base image like debian:12-slim, as a tar file, from the package mirror this
# machine uses; for machines that reach no image registry. No mirror's name stays in the image.
# Usage: docker/mkbase.sh OUT.tar     (needs mmdebstrap)
set -euo pipefail

# mirror PATTERN DEFAULT: the first archive in apt's own configuration whose address ends so.
mirror() {
    { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
        awk -v want="$1" -v found="$2" '
            /^(URIs:|deb )/ { for (i = 2; i <= NF; i++) if ($i ~ want) { found = $i; exit } }
            END { print found }'
}
main=$(mirror '/debian/?$' http://deb.debian.org/debian)
security=$(mirror '/debian-security/?$' http://deb.debian.org/debian-security)

export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1735689600}"
mmdebstrap --quiet --variant=minbase \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1/etc/apt/sources.list"' \
    --customize-hook=': > "$1/etc/resolv.conf"; echo localhost > "$1/etc/hostname"' \
    --customize-hook='mkdir -p "$1/etc/apt/sources.list.d"' \
    --customize-hook=': > "$1/etc/apt/sources.list.d/debian.sources"' \
    bookworm "$1" "deb $main bookworm main" "deb $main bookworm-updates main" \
    "deb $security bookworm-security main"
