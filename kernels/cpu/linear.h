/* linear.h - the loops around the tiles of a linear kernel, the same for every ISA. */
#ifndef KERNELS_CPU_LINEAR_H
#define KERNELS_CPU_LINEAR_H

#include "kernels/cpu/isa.h"

enum { TILE_ROWS = 6, TILE_PANELS = 4 };

/* What a tile prefetches: `step` bytes (whole lines) from `p` for every step along K. */
struct ahead {
    const char *p;
    int step;
};

/* y of some rows and panels over all of K; how many of each is in the function. */
typedef void tile_fn(const struct linear_job *j, int64_t panel, int64_t row, struct ahead pre);

struct tile_set {
    tile_fn *tile[TILE_PANELS + 1][TILE_ROWS + 1]; /* [panels][rows]; [0] unused */
    int rows;                                      /* most rows of a tile */
    int few;                 /* panels side by side for up to 4 rows, where memory is the limit */
    int many[TILE_ROWS + 1]; /* and where arithmetic is, by rows of the tile */
    bool light; /* few instructions a line: up to 2 rows the hardware's prefetch is enough */
};

void linear_tiles(const struct linear_job *j, int64_t first, int64_t last,
                  const struct tile_set *set);

linear_fn linear_scalar; /* any type */

#endif
