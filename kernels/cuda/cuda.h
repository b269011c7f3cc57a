/* cuda.h - inside the CUDA backend: its device and queue, and the launchers of its kernels.
 *
 * cuda.c is plain C over the runtime API; a .cu file holds the kernels of an op family and their
 * launchers, and calls nothing of the device but what it gets from `struct cuda_queue`. A launcher
 * submits to q->stream and returns: it allocates nothing and never waits, so it can be captured. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/backend.h"
#include "kernels/gpu/cost.h"
#include "kernels/gpu/select.h"

enum {
    CUDA_PAGE_TOKENS = 16,
    CUDA_CC_MIN = 75, /* the least that CUDA 13 compiles for */
    CUDA_GRID_Y_MAX = 65535,
    CUDA_TICKETS = 8192
};

/* Kernels that the self-check found to be wrong here: others take their place. */
enum {
    CUDA_NO_NORM_LINEAR = 1,
    CUDA_NO_ROPE_KV = 2,
    CUDA_NO_TUNED_ATTENTION = 4,
    CUDA_NO_LT = 8,
    CUDA_NO_W8A8 = 16,
    CUDA_NO_LT_FP8 = 32,
    CUDA_NO_W4A4 = 64,
    CUDA_NO_LT_FP4 = 128,
    CUDA_NO_ALL = 255
};

struct lt;
struct lt_limits;
struct ring;
struct cuda_queue {
    struct queue queue;  /* first: a struct queue * is a struct cuda_queue * */
    cudaStream_t stream; /* the one all work goes to */
    struct ring *ring;   /* its tickets and staging, for those that wait */
    bool early;    /* kernels may begin before the one before them has ended: sm_90 and later */
    int cc;        /* compute capability, 90 for 9.0 */
    int sms;       /* multiprocessors */
    int smem_max;  /* shared memory a block can have when it asks for it */
    void *scratch; /* device memory for partial sums: any launcher may use all of it, and what it
                      leaves there is lost with the next launch */
    size_t scratch_bytes;
    struct gpu_plan plan; /* launches of matrix products, by the GPU's configuration */
    unsigned *tickets;    /* device, CUDA_TICKETS zeros, which launchers leave as zeros */
    const struct lt_limits *limits;
    struct lt *lt;    /* NULL: there is no cuBLASLt */
    unsigned refused; /* CUDA_NO_... */
    struct fallbacks fallbacks;
    enum x_type round_x; /* as struct device_options has it */
    bool strict;         /* a wrong kernel is not replaced */
    bool deterministic;  /* a row's bits may not depend on the number of rows */
};

/* OK, or ERR_DEVICE with the op's name and what the runtime says. */
enum status cuda_check(cudaError_t e, const char *what);

bool cuda_embeds(enum dtype type); /* a table of this type can be looked up */

void cuda_facts(int index, const struct cudaDeviceProp *p, struct gpu_facts *f);

/* What this GPU reaches; 0: not measured. Takes a quarter of the free memory twice meanwhile. */
enum status cuda_ceilings(struct cuda_queue *q, int64_t l2_bytes, struct gpu_ceil *out);

/* What a product with this weight may use: a set of enum gpu_may. `w` may be NULL. */
int cuda_may(const struct cuda_queue *q, enum dtype t, const struct quant *w);

/* ERR_UNSUPPORTED when this build holds no code for the GPU. */
enum status cuda_kernels_fit(const struct cuda_queue *q);

#define CUDA_DECLARE(name, args) enum status cuda_##name(struct cuda_queue *q, const args *a);
OP_LIST(CUDA_DECLARE)
#undef CUDA_DECLARE

/* Rows [first, first + m) of x as bytes with a scale each (quant_rows.cu): x is about scale * q. Or
 * as e2m1 with a scale a block too (quant_fp4.cu), where `width` counts numbers and is a multiple
 * of 64: two numbers a byte in rows of width / 2 bytes, their blocks' scales in `blocks` as
 * cuBLASLt wants them (fp4_scale_at); or, with blocks NULL, in pieces as linear_w4a4.cu wants. */
enum quant_kind { QUANT_E4M3, QUANT_S8, QUANT_NVFP4, QUANT_MXFP4 };
struct quant_rows {
    enum quant_kind kind;
    const char *x;       /* device, its row `first`: [m, k] f32 */
    int64_t stride, up;  /* bytes a row; not 0: a number is silu(x) times the one `up` bytes on */
    int64_t k, width;    /* columns of x; bytes of a row of q, a multiple of 16 */
    uint8_t *q;          /* device, 16-byte aligned */
    uint8_t *blocks;     /* device, or NULL */
    float *scale;        /* device, [m] */
    float fixed;         /* e4m3: what every row is divided by; 0: each row has its own */
    const int32_t *live; /* as the op has it: rows of the op that are live; or NULL */
    int first, m;
    int pad; /* rows of zeros behind them */
};
enum status cuda_quant_rows(const struct cuda_queue *q, const struct quant_rows *a);
enum status cuda_quant_fp4(const struct cuda_queue *q, const struct quant_rows *a);

/* cuda_count adds to counts: they are zeroed before, and `token` is memory the device can read. */

#ifdef __cplusplus
}
#endif

#endif
