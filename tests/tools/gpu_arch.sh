#!/bin/bash
# Prints the targets nvcc compiles for the NVIDIA GPUs of this machine (as CUDA_ARCH wants them: "90a"), or nothing
# where there is none that can be used: no device node, or nothing that tells its kind.
# Usage: tests/tools/gpu_arch.sh [FOLDER]     where /dev and /usr/lib/wsl are looked for, for tests
set -euo pipefail
top=${1:-}

if [ -e "$top/dev/nvidiactl" ]; then
    smi=$(command -v nvidia-smi || echo "$top/usr/local/nvidia/bin/nvidia-smi") # containers
elif [ -e "$top/dev/dxg" ] && [ -e "$top/usr/lib/wsl/lib/libcuda.so.1" ]; then # WSL2
    smi=$(command -v nvidia-smi || echo "$top/usr/lib/wsl/lib/nvidia-smi")
else
    exit 0
fi
[ -x "$smi" ] || exit 0
"$smi" --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | while read -r cc; do
    case $cc in
    7.5 | 8.0 | 8.6 | 8.7 | 8.9) echo "${cc/./}" ;;
    9.0) echo 90a ;;
    10.*) echo 100f ;;
    11.*) echo 110f ;;
    12.*) echo 120f ;;
    esac
done | sort -u | xargs || true
