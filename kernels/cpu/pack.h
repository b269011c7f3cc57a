/* pack.h - how weights get into panels. */
#ifndef KERNELS_CPU_PACK_H
#define KERNELS_CPU_PACK_H

#include "kernels/cpu/panel.h"

/* Packs whole steps of a full panel, from where its rows begin in the source. */
typedef void pack_fn(const uint8_t *const row[PANEL_ROWS], int64_t steps, uint8_t *dst);

/* The tensors of one type and K that are stacked along N to a weight, and where it is to lie; the
 * same bytes whether `fast` packs whole steps or none (NULL). */
struct pack_work {
    const struct tensor *src;
    int n;
    pack_fn *fast;
    uint8_t *dst; /* panel 0 */
};
/* Packs the panels [first, last). Any ranges may be packed by different threads. */
void pack_panels(const struct pack_work *w, int64_t first, int64_t last);

#endif
