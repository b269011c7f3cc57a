/* tune_cross.h - from how many rows another path is faster, from measured times. */
#ifndef KERNELS_GPU_TUNE_CROSS_H
#define KERNELS_GPU_TUNE_CROSS_H

#include "kernels/gpu/tune_fit.h"

/* Sets the crossovers of every class of formats of which both a kernel of our own and cuBLASLt were
 * measured for the same weight and rows. Between what was measured, the model speaks: it must be
 * fitted before. The number of crossovers that are others now. */
int tune_cross(struct gpu_config *c, const struct tune_point *p, int n);

#endif
