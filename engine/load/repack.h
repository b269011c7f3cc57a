/* repack.h - from tensors in a file to weights as the device wants them: asking the device for each
 * one's layout, adding them up, packing them into the region. */
#ifndef ENGINE_LOAD_REPACK_H
#define ENGINE_LOAD_REPACK_H

#include "engine/load/bind.h"

/* Fills choice, offset and bytes of every bound weight; `total` is the region's size. A weight that
 * the device cannot use fails with its name. */
enum status repack_place(struct placement *p, struct device *dev, size_t *total);
/* Sets the views of the net to where the weights would lie; packs nothing. */
void repack_plan(const struct placement *p, const struct device *dev, char *weights);
/* Packs all into `weights`, which has repack_place's total. */
enum status repack_load(const struct checkpoint *c, const struct placement *p, struct device *dev,
                        char *weights, void (*progress)(void *, double), void *ctx);
/* One line a class of weights: format, kernel, how many, bytes. */
void repack_report(const struct placement *p, struct buf *out);

#endif
