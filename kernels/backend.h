/* backend.h - what a device is to the engine: memory regions, a queue of ops, fences, packing of
 * weights.
 *
 * One worker thread drives a device. A synchronous backend (the CPU) runs an op inside the call;
 * its fences are done at once. Backends: cpu (kernels/cpu), null (kernels/null: counts, runs
 * nothing), cuda (kernels/cuda: one stream). */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/status.h"
#include "kernels/ops.h"

struct backend;
struct gpu_selected; /* kernels/gpu/select.h */
struct gpu_params;   /* kernels/gpu/config.h */
struct gpu_lt;       /* there too */
struct gpu_ceil;     /* and there */
struct gpu_cut;
struct device {
    const struct backend *backend;
    int index;
}; /* first member of each backend's own struct */
struct queue {
    struct device *dev;
}; /* likewise */
struct fence {
    uint64_t ticket;
}; /* caller's storage */
struct graph;

/* What a device took something else for, since it was opened; of the thread that drives it. */
struct fallbacks {
    int64_t kernels;    /* that the self-check replaced */
    int64_t algorithms; /* of cuBLASLt: named by the configuration, refused or found wrong */
    int64_t products;   /* shapes that cuBLASLt declined */
};

struct device_options {
    int index;
    int threads; /* CPU: 0: as many as this process may really use */
    const char
        *isa; /* CPU: "scalar" "avx2" "avx512" forces one for tests; NULL: the best this CPU has */
    const char *gpu_config, *gpu_cache; /* CUDA: a configuration; the folder of tuned ones; NULL */
    bool strict;                        /* CUDA: refuse instead of falling back */
    const char *cublaslt; /* CUDA: file or folder of the library, "none"; NULL: looked for */
    bool deterministic;   /* CUDA: a row's bits do not depend on the number of rows either */
    /* What products may round x to: of all weights that go with it, or X_DECLARED: as each says. A
     * GPU does it where that is faster; the CPU, to show what it costs, always, but for X_DECLARED
     * never. */
    enum x_type round_x;
    const char *os_release; /* CUDA: a file in place of the system's, for tests; NULL */
    double patience;     /* CUDA: seconds after which a GPU that ends no step has failed; 0: 120 */
    struct device *like; /* null: the device in whose place it plans, see null_like; NULL: none */
};

struct device_info {
    const char *backend;
    char name[96]; /* of the hardware */
    char isa[32];
    int threads;                     /* that compute; of a GPU: that read weights */
    int64_t total_bytes, free_bytes; /* as measured now, without what is left alone, */
    int64_t margin_bytes;            /* so much: for graphs, modules, other programs */
    int64_t own_bytes;               /* taken at open, beside the regions: part of any plan */
    int page_tokens;                 /* KV page size this backend wants */
    bool synchronous;
    bool exact_rows;                   /* batches need no bucket: rows are exactly those used */
    int max_seqs;                      /* most sequences a step may have; 0: any */
    enum dtype kv_dtype;               /* default KV type */
    enum status fault;                 /* sticky device fault, OK when none */
    double peak_gbs;                   /* measured read rate, 0: not measured */
    int lt;                            /* version of cuBLASLt, which may be used; 0: none */
    const struct fallbacks *fallbacks; /* the device's, which go on counting; NULL: it has none */
    const struct gpu_selected *gpu; /* a GPU's configuration, the device's; NULL: it needs none */
};

enum region { REGION_WEIGHTS, REGION_KV, REGION_ROWS, REGION_WORK, N_REGION };
enum copy_dir { COPY_TO_DEVICE, COPY_TO_HOST, COPY_ON_DEVICE };

struct op_case {
    enum op op;
    enum dtype x, w;
    int64_t m, n, k;
}; /* m 0: any number of rows; of attention: w is the type of the pages, n heads of size k */
struct choice {
    const char *kernel;  /* its name in the start-up report */
    enum layout layout;  /* how the weight must be packed for it */
    size_t bytes;        /* of the packed weight */
    double us, bound_us; /* one row: as expected, and as the hardware allows; 0: not said */
    const char *source;  /* with them: the configuration that chose; lives as long as the device */
};

struct pack_item { /* what `pack` is given for one weight */
    const struct tensor *src;
    int n;
    const struct choice *how;
    struct tensor *dst;
};

struct backend {
    const char *name;
    int (*count)(void); /* devices present */
    enum status (*open)(const struct device_options *, struct device **);
    void (*close)(struct device *);
    void (*info)(const struct device *, struct device_info *);
    struct queue *(*queue)(struct device *); /* the device's one queue */
    /* Takes a region once, zeroed, before READY; given back by close. ERR_NO_MEMORY with both
     * numbers. */
    enum status (*region)(struct device *, enum region, size_t bytes, void **out);
    enum status (*copy)(struct queue *, void *dst, const void *src, size_t bytes,
                        enum copy_dir); /* ordered; host memory must stay until the fence */
    enum status (*record)(struct queue *, struct fence *);
    bool (*done)(struct queue *, const struct fence *);
    enum status (*wait)(struct queue *, const struct fence *);
    enum status (*capture)(struct queue *, bool on, struct graph **); /* NULL: no graphs */
    enum status (*replay)(struct queue *, struct graph *);
    void (*forget)(struct queue *, struct graph *); /* it will not be replayed again */
    /* A step begins and ends: the CPU keeps its threads awake in between. May be NULL. */
    void (*step)(struct queue *, bool begin);
    /* Asked once for each weight and shape, at load. False: not this op in this case; ops.c
     * composes it, or loading fails with its name. */
    bool (*can)(const struct device *, const struct op_case *, struct choice *);
    /* How a product of so many rows (c->m) will be multiplied by this weight, of which `w` tells
     * what its tensor will have as q: kernel, us, bound_us and source. Asked once for each matrix
     * at load, too: what rounds activations is then known to `check`. NULL: as `can` says. */
    void (*many)(const struct device *, const struct op_case *c, const struct quant *w,
                 struct choice *);
    /* Packs n host tensors [N_i, K] of one dtype (LAYOUT_ROWS, e.g. in a mapped file), stacked
     * along N, into dst (data: device memory of choice->bytes; sets layout, shape, strides). */
    enum status (*pack)(struct device *, const struct tensor *src, int n, const struct choice *,
                        struct tensor *dst);
    /* Products take this launch until NULL is given; for tuning. NULL: there is one way only. */
    void (*force)(struct device *, const struct gpu_params *);
    /* cuBLASLt's algorithms for the product that was forced last. Their number. NULL: none. */
    int (*algorithms)(struct device *, struct gpu_lt *out, int most);
    /* The same for attention. */
    void (*force_cut)(struct device *, const struct gpu_cut *);
    /* What the device reaches, measured now; 0: not that. Before any region. NULL: cannot. */
    enum status (*ceilings)(struct device *, struct gpu_ceil *out);
    /* Many at once, for devices whose threads then share one list of work. May be NULL. */
    enum status (*pack_all)(struct device *, const struct pack_item *, int n);
    /* The largest case of an op that steps will have: what it needs beside the regions is taken
     * now, so that nothing is when it runs. Told of each op of a step before READY. May be NULL. */
    void (*reserve)(struct device *, enum op, const void *args);
    /* Before READY, after every `can` and `many`: kernels that will run against their definitions,
     * on tiny shapes. A wrong one is replaced with a log line, or ERR_DEVICE names it. May be
     * NULL. */
    enum status (*check)(struct device *);
    struct ops ops;
};

extern const struct backend backend_cpu, backend_null;
extern const struct backend backend_cuda __attribute__((weak)); /* NULL: built without it */

/* "cpu", "cuda:1" ... -> backend and index of the device; ERR_UNSUPPORTED lists what this build
 * has. "auto" or NULL: the first that works; one log line says which and why. A device that is
 * named never falls back to another: to open it fails and says why. */
enum status backend_find(const char *name, const struct backend **out, int *index);

#endif
