/* device.h - the CUDA backend's device, between cuda.c, which opens it, and choose.c. */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/base/arena.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ring.h"

enum { CUDA_GRAPHS_MAX = 256 };

struct cuda_device {
    struct device dev;       /* first: a struct device * is a struct cuda_device * */
    struct cuda_queue queue; /* holds the stream */
    struct ring ring;
    char name[96];
    struct arena arena; /* of the configuration */
    struct gpu_selected gpu;
    int64_t total_bytes, margin_bytes; /* margin: of the free memory, left alone */
    void *region[N_REGION];
    struct graph *graph[CUDA_GRAPHS_MAX];
    int n_graphs;
    bool capturing;
    struct cuda_used used; /* formats that `can` was asked for */
    char driver[32];       /* its build */
    char cache[1000];      /* folder of what is remembered; "": none */
};

/* As struct backend has them. */
bool cuda_can(const struct device *dev, const struct op_case *c, struct choice *out);
void cuda_many(const struct device *dev, const struct op_case *c, const struct quant *w,
               struct choice *out);

#endif
