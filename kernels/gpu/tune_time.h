/* tune_time.h - how long something takes on a device, by the host's clock. */
#ifndef KERNELS_GPU_TUNE_TIME_H
#define KERNELS_GPU_TUNE_TIME_H

#include "kernels/backend.h"

/* Submits one of what is timed. */
typedef enum status tune_launch_fn(void *ctx, const void *what);

/* Microseconds of one, the mean of many: some in a graph, where the device has graphs, so that the
 * host's part is not timed, and that as often as a clock needs. */
enum status tune_time(struct device *dev, tune_launch_fn *launch, void *ctx, const void *what,
                      double *us);
/* All that was submitted is done. */
enum status tune_settle(struct device *dev);

#endif
