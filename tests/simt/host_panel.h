/* host_panel.h - weights in panels, made by the processor: what the device's are held against, and
 * what tests of products start from. */
#ifndef TESTS_SIMT_HOST_PANEL_H
#define TESTS_SIMT_HOST_PANEL_H

#include "kernels/tensor.h"

/* Packs tiles of 16 rows [first, first + count) of n tensors [N_i, K], stacked along N, in host
 * memory, to `out` (count * columns / 64 * tile_bytes). Rows beyond the last are zero. */
void host_panel_pack(const struct tensor *src, int n, int64_t first, int64_t count, void *out);

#endif
