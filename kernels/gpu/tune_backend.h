/* tune_backend.h - a device whose backend can force launches, as something that can be tuned. */
#ifndef KERNELS_GPU_TUNE_BACKEND_H
#define KERNELS_GPU_TUNE_BACKEND_H

#include "kernels/backend.h"
#include "kernels/gpu/tune.h"

struct tune_backend;

/* Takes the device's regions for weights and rows, large enough for all shapes of `o`, so it is the
 * device's only user. ERR_UNSUPPORTED: its products have one launch only. */
enum status tune_backend_open(struct device *dev, const struct tune_options *o,
                              struct tune_backend **out);
void tune_backend_close(struct tune_backend *t);
struct tune_device tune_backend_device(struct tune_backend *t);

#endif
