/* driver.h - NVIDIA's driver where the loader does not look, and what only its management library
 * says. */
#ifndef KERNELS_CUDA_DRIVER_H
#define KERNELS_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* Before the first call of the runtime, which opens libcuda.so.1 by that name: makes it known from
 * where containers have it. Once; any thread. */
void driver_find(void);

/* The driver's build ("" where nobody says it), and the PCI device << 16 | vendor of CUDA's device
 * `index`, 0 likewise. Takes up to a tenth of a second. */
void driver_ask(int index, char *version, size_t n, uint32_t *id);

#endif
