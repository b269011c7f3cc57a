/* sha256.h - SHA-256 (FIPS 180-4), for naming what a result came from. Not for secrets. */
#ifndef KERNELS_BASE_SHA256_H
#define KERNELS_BASE_SHA256_H

#include <stddef.h>

/* 64 hexadecimal digits and a NUL. */
void sha256_hex(const void *data, size_t n, char out[65]);

#endif
