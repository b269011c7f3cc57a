/* repack.h - from tensors in a file to weights as the device wants them: asking the device for each
 * one's layout, adding them up, packing them into the region. */
#ifndef ENGINE_LOAD_REPACK_H
#define ENGINE_LOAD_REPACK_H

#include "engine/load/bind.h"

/* The devices that share a network; [SIDE_LOWER] NULL: the upper one has all of it. */
struct sides {
    struct device *dev[N_SIDE];
    char *weights[N_SIDE]; /* the region of each, once it is there */
};
/* Fills choice, offset and bytes of every bound weight, by p->cut; `total` are the regions'
 * sizes. A weight that its device cannot use fails with its name. */
enum status repack_place(struct placement *p, const struct sides *on, size_t total[N_SIDE]);
/* Sets the views of the net to where the weights would lie; packs nothing. */
void repack_plan(const struct placement *p, const struct sides *on);
/* Packs all into the regions, which have repack_place's totals. */
enum status repack_load(const struct checkpoint *c, const struct placement *p,
                        const struct sides *on, void (*progress)(void *, double), void *ctx);
/* One line a class of weights: format, kernel, how many, bytes; what is expected of one row, and by
 * which ways and how near to the roofline many rows are multiplied. */
void repack_report(const struct placement *p, const struct sides *on, struct buf *out);

#endif
