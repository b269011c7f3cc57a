/* embed.cu - rows of the token table as f32, a block a row.
 *
 * A thread decodes 32 numbers of a block format, or one of a plain type, exactly as kernels/dtype.c
 * does: products and one sum, each rounded. Bytes: the row as it is stored and 4 a number; a step's
 * rows are few, so the launch is the cost. */
#include "kernels/cuda/common.cuh"

extern "C" {
#include "kernels/cuda/panel.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/nf4.h"
#include "kernels/quant/q4_0.h"
#include "kernels/quant/q4_1.h"
#include "kernels/quant/q4_k.h"
#include "kernels/quant/q5_0.h"
#include "kernels/quant/q5_1.h"
#include "kernels/quant/q5_k.h"
#include "kernels/quant/q6_k.h"
#include "kernels/quant/q8_0.h"
}

enum { THREADS = 128 };

/* Decoders: numbers [i * N, i * N + N) of a row to y. */
struct F32 {
    enum { N = 1 };
    static __device__ void decode(const void *row, int64_t i, float *y)
    {
        y[i] = static_cast<const float *>(row)[i];
    }
};
struct F16 {
    enum { N = 1 };
    static __device__ void decode(const void *row, int64_t i, float *y)
    {
        y[i] = __half2float(static_cast<const __half *>(row)[i]);
    }
};
struct Bf16 {
    enum { N = 1 };
    static __device__ void decode(const void *row, int64_t i, float *y)
    {
        y[i] = __bfloat162float(static_cast<const __nv_bfloat16 *>(row)[i]);
    }
};

#define BLOCK_FORMAT(Name, x, X)                                                                   \
    struct Name {                                                                                  \
        enum { N = QUANT_GROUP, GROUPS = X##_BLOCK / QUANT_GROUP };                                \
        static __device__ void decode(const void *row, int64_t i, float *y)                        \
        {                                                                                          \
            struct quant_ints o;                                                                   \
            const uint8_t *block = static_cast<const uint8_t *>(row) + i / GROUPS * X##_BYTES;     \
            x##_ints(block, static_cast<int>(i % GROUPS), &o);                                     \
            for (int j = 0; j < N; j++) {                                                          \
                const float d = __fmul_rn(o.d, static_cast<float>(o.sc[j / 16]));                  \
                const float m = __fmul_rn(o.m, static_cast<float>(o.mn[j / 16]));                  \
                y[i * N + j] = __fadd_rn(__fmul_rn(d, static_cast<float>(o.q[j])), m);             \
            }                                                                                      \
        }                                                                                          \
    };
BLOCK_FORMAT(Q8_0, q8_0, Q8_0)
BLOCK_FORMAT(Q4_0, q4_0, Q4_0)
BLOCK_FORMAT(Q4_1, q4_1, Q4_1)
BLOCK_FORMAT(Q5_0, q5_0, Q5_0)
BLOCK_FORMAT(Q5_1, q5_1, Q5_1)
BLOCK_FORMAT(Q4_k, q4_k, Q4_K)
BLOCK_FORMAT(Q5_k, q5_k, Q5_K)
BLOCK_FORMAT(Q6_k, q6_k, Q6_K)
#undef BLOCK_FORMAT

struct F8E4m3 {
    enum { N = F8_E4M3_BLOCK };
    static __device__ void decode(const void *row, int64_t i, float *y)
    {
        const uint8_t *block = static_cast<const uint8_t *>(row) + i * F8_E4M3_BYTES;
        const float d = quant_f32(quant_u32(block));
        for (int j = 0; j < N; j++)
            y[i * N + j] = __fmul_rn(d, f8_e4m3_value(block[sizeof(float) + j]));
    }
};
struct Nf4 {
    enum { N = NF4_BLOCK };
    static __device__ void decode(const void *row, int64_t i, float *y)
    {
        static const float value[16] = {NF4_VALUES};
        const uint8_t *block = static_cast<const uint8_t *>(row) + i * NF4_BYTES;
        const float d = quant_f32(quant_u32(block));
        for (int j = 0; j < N; j++)
            y[i * N + j] = __fmul_rn(d, value[block[sizeof(float) + j / 2] >> j % 2 * 4 & 15]);
    }
};

/* Formats of tables in rows. */
#define EMBED_FORMATS(X)                                                                           \
    X(DT_F32, F32)                                                                                 \
    X(DT_F16, F16)                                                                                 \
    X(DT_BF16, Bf16)                                                                               \
    X(DT_Q8_0, Q8_0)                                                                               \
    X(DT_Q4_0, Q4_0)                                                                               \
    X(DT_Q4_1, Q4_1)                                                                               \
    X(DT_Q5_0, Q5_0)                                                                               \
    X(DT_Q5_1, Q5_1)                                                                               \
    X(DT_Q4_K, Q4_k)                                                                               \
    X(DT_Q5_K, Q5_k)                                                                               \
    X(DT_Q6_K, Q6_k)                                                                               \
    X(DT_F8_E4M3, F8E4m3)                                                                          \
    X(DT_NF4, Nf4)

template <class Format> GPU_FN void embed_row(const void *row, int64_t k, float scale, float *y)
{
    GPU_UNROLL_BY(1)
    for (int64_t i = threadIdx.x; i < k / Format::N; i += THREADS) {
        Format::decode(row, i, y);
        for (int j = 0; scale != 1 && j < Format::N; j++)
            y[i * Format::N + j] *= scale;
    }
}

/* One kernel for all formats: it is bound by its launch. */
static __global__ void __launch_bounds__(THREADS) embed_kernel(struct op_embed a)
{
    const int64_t r = blockIdx.x, k = a.table.shape[1];
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.r.live, r))
        return;
    float *y = row_of<float>(a.y, r);
    int32_t token = a.token[r];
    if (token == TOKEN_FROM_SLOT)
        token = a.last[a.r.seq_slot[a.r.row_seq[r]]];
    if (token < 0) {
        embed_row<F32>(row_of<const float>(a.rows, ~token), k, a.scale, y);
        return;
    }
    const void *row = row_of<const char>(a.table, token);
    switch (a.table.dtype) {
#define CASE(type, Format)                                                                         \
    case type:                                                                                     \
        embed_row<Format>(row, k, a.scale, y);                                                     \
        break;
        EMBED_FORMATS(CASE)
#undef CASE
    }
}

bool cuda_embeds(enum dtype type)
{
#define IS(t, Format) type == t ||
    return EMBED_FORMATS(IS) false;
#undef IS
}

enum status cuda_embed(struct cuda_queue *q, const struct op_embed *a)
{
    if (a->table.layout == LAYOUT_PANEL)
        return cuda_panel_embed(q, a);
    if (!cuda_embeds(static_cast<enum dtype>(a->table.dtype)) || a->table.layout != LAYOUT_ROWS)
        return fail(ERR_UNSUPPORTED, "cuda: op embed of type %d, layout %d", a->table.dtype,
                    a->table.layout);
    if (a->r.rows == 0)
        return OK;
    const dim3 grid(static_cast<unsigned>(a->r.rows));
    return cuda_check(gpu_launch_early({q->stream, q->early}, embed_kernel, grid, THREADS, 0, *a),
                      "embed");
}
