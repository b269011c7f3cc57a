/* pack.h - weights on their way from host memory, mostly a mapped file, into the device's. */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/backend.h"
#include "kernels/cuda/cuda.h"

struct ring;

enum { CUDA_PACK_THREADS = 16 }; /* at most */

/* Packs all items; returns when the device has them. The ring is used whole meanwhile. */
enum status cuda_pack_items(struct cuda_queue *q, struct ring *r, const struct pack_item *item,
                            int n);
/* Threads that it uses. */
int cuda_pack_threads(void);

/* Rows of blocks on the device, made into panels there (panel_make.cu). */
struct panel_raw {
    enum dtype type;
    const void *raw; /* [rows, k], dense */
    void *out;
    int rows;
    int64_t k;
};
enum status cuda_panel_make(struct cuda_queue *q, const struct panel_raw *r);

#endif
