/* tune_backend_attn.h - attention on a device whose backend can force its cuts, to be tuned. */
#ifndef KERNELS_GPU_TUNE_BACKEND_ATTN_H
#define KERNELS_GPU_TUNE_BACKEND_ATTN_H

#include "kernels/backend.h"
#include "kernels/gpu/tune_attn.h"

struct tune_pages;

/* Takes the device's region for keys and values, no more than half of what is free: larger steps
 * are left out. ERR_UNSUPPORTED: its attention has one cut only. */
enum status tune_pages_open(struct device *dev, const struct tune_attn_options *o,
                            struct tune_pages **out);
void tune_pages_close(struct tune_pages *t);
struct tune_attn_device tune_pages_device(struct tune_pages *t);

#endif
