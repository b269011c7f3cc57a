/* tune_fit.h - the cost model's efficiencies from measured times. */
#ifndef KERNELS_GPU_TUNE_FIT_H
#define KERNELS_GPU_TUNE_FIT_H

#include "kernels/gpu/cost.h"

struct tune_point { /* a launch by the cost model's terms, and what it took */
    struct gpu_shape shape;
    struct gpu_params params;
    double us;
};

/* Sets c->eff of every kernel that has enough points, by least squares on log t: the ceilings stay,
 * the model's shares and overheads change. Points of what is far off count as if they were a factor
 * of two off. The number of kernels that were fitted. */
int tune_fit(struct gpu_config *c, const struct tune_point *p, int n);
/* How far the model is off: the median of |modelled / measured - 1| over points with `m` rows (0:
 * over all); negative: there are none. */
double tune_fit_error(const struct gpu_config *c, const struct tune_point *p, int n, int64_t m);
/* The same for a number of rows that a fit to all the others has not seen. */
double tune_fit_foresight(const struct gpu_config *c, const struct tune_point *p, int n, int64_t m);

#endif
