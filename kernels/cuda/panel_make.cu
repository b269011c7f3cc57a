/* panel_make.cu - puts blocks as a file has them into panels, on the device, while weights are
 * loaded: a processor rearranges about 0.2 GB/s, and there are few of them.
 *
 * A warp makes a tile, a lane all words that are its own there, so no two threads write to one:
 * of the formats that have panels of their own a fragment's, else a group of 32 columns of a row.
 * What lies where is panel.h's. Bytes: the blocks once (a lane reads single bytes of lines that its
 * warp shares) and the tiles once. */
#include "kernels/cuda/common.cuh"

extern "C" {
#include "kernels/cuda/pack.h"
#include "kernels/cuda/panel.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/iq1_m.h"
#include "kernels/quant/iq1_s.h"
#include "kernels/quant/iq2_s.h"
#include "kernels/quant/iq2_xs.h"
#include "kernels/quant/iq2_xxs.h"
#include "kernels/quant/iq3_s.h"
#include "kernels/quant/iq3_xxs.h"
#include "kernels/quant/iq4_nl.h"
#include "kernels/quant/iq4_xs.h"
#include "kernels/quant/mxfp4.h"
#include "kernels/quant/nf4.h"
#include "kernels/quant/nvfp4.h"
#include "kernels/quant/q1_0.h"
#include "kernels/quant/q2_0.h"
#include "kernels/quant/q2_k.h"
#include "kernels/quant/q3_k.h"
#include "kernels/quant/q4_0.h"
#include "kernels/quant/q4_1.h"
#include "kernels/quant/q4_k.h"
#include "kernels/quant/q5_0.h"
#include "kernels/quant/q5_1.h"
#include "kernels/quant/q5_k.h"
#include "kernels/quant/q6_k.h"
#include "kernels/quant/q8_0.h"
#include "kernels/quant/q8_1.h"
#include "kernels/quant/q8_k.h"
#include "kernels/quant/tq1_0.h"
#include "kernels/quant/tq2_0.h"
}

enum { THREADS = 256 };

struct make_args {
    enum dtype type;
    const uint8_t *raw;
    uint8_t *out;
    int64_t row_bytes, k, tiles;
    int rows, chunks, tile_bytes;
    int block, bytes; /* of the format: weights, bytes */
};

/* Formats: bits, scales, and integer i of a group of a block, or its code of e2m1. */
/* clang-format off */
#define FORMATS(X)                                                                                 \
    X(Q8_0, 8, PANEL_D, q8_0_at(b, i))                                                             \
    X(Q4_0, 4, PANEL_D, q4_0_at(b, i))                                                             \
    X(Q4_1, 4, PANEL_DM, q4_1_at(b, i))                                                            \
    X(Q5_0, 5, PANEL_D, q5_0_at(b, i))                                                             \
    X(Q5_1, 5, PANEL_DM, q5_1_at(b, i))                                                            \
    X(Q4_K, 4, PANEL_K, q4_k_at(b, group, i))                                                      \
    X(Q5_K, 5, PANEL_K, q5_k_at(b, group, i))                                                      \
    X(Q6_K, 6, PANEL_6, q6_k_at(b, group, i))                                                      \
    X(NVFP4, 4, PANEL_E4, nvfp4_code(b, group, i))                                                 \
    X(MXFP4, 4, PANEL_E8, quant_nibble(b + 1, i))

/* Formats of PANEL_ANY. */
#define OTHERS(X)                                                                                  \
    X(Q1_0, q1_0) X(Q2_0, q2_0) X(Q8_1, q8_1) X(Q2_K, q2_k) X(Q3_K, q3_k) X(Q8_K, q8_k)            \
    X(IQ1_S, iq1_s) X(IQ1_M, iq1_m) X(IQ2_XXS, iq2_xxs) X(IQ2_XS, iq2_xs) X(IQ2_S, iq2_s)          \
    X(IQ3_XXS, iq3_xxs) X(IQ3_S, iq3_s) X(IQ4_NL, iq4_nl) X(IQ4_XS, iq4_xs) X(TQ1_0, tq1_0)        \
    X(TQ2_0, tq2_0)
/* clang-format on */

#define FORMAT(Name, bits, scales, call)                                                           \
    struct Make##Name {                                                                            \
        enum { BLOCK = Name##_BLOCK, BYTES = Name##_BYTES, BITS = bits };                          \
        static constexpr enum panel_scales SCALES = scales;                                        \
        static __device__ int at(const uint8_t *b, int group, int i)                               \
        {                                                                                          \
            (void)group;                                                                           \
            return call;                                                                           \
        }                                                                                          \
    };
FORMATS(FORMAT)
#undef FORMAT

/* Four integers in two's complement of the format's few bits, one a byte. */
template <class F> static __device__ uint32_t four(const uint8_t *block, int group, int first)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (static_cast<uint32_t>(F::at(block, group, first + i)) & ((1u << F::BITS) - 1))
             << (8 * i);
    return v;
}

static __device__ void put(uint8_t *at, uint32_t word)
{
    *reinterpret_cast<uint32_t *>(at) = word;
}

static __device__ uint32_t pair(const uint8_t *a, const uint8_t *b, int at)
{
    const uint32_t low = a ? a[at] | a[at + 1] << 8 : 0, high = b ? b[at] | b[at + 1] << 8 : 0;
    return low | high << 16;
}

/* What scales group `group` of a tile in rows g and g + 8, whose blocks are a and b, or NULL. */
template <class F>
static __device__ void scales(uint8_t *s, int g, int group, int in, const uint8_t *a,
                              const uint8_t *b)
{
    if (F::SCALES == PANEL_D)
        put(s + group * 32 + g * 4, pair(a, b, 0));
    if (F::SCALES == PANEL_DM)
        for (int line = 0; line < 2; line++)
            put(s + group * 64 + (g * 2 + line) * 4, pair(a, b, 2 * line));
    if (F::SCALES == PANEL_6) {
        put(s + (group * 8 + g) * 4, pair(a, b, 192 + 2 * in));
        if (group == 0)
            put(s + 64 + g * 4, pair(a, b, 208));
    }
    for (int row = 0; row < 2; row++) {
        const uint8_t *from = row ? b : a;
        if (F::SCALES == PANEL_E8)
            s[(g * 2 + row) * 2 + group] = from ? from[0] : 0;
        for (int i = 2 * group; F::SCALES == PANEL_E4 && i < 2 * group + 2; i++)
            s[(g * 2 + row) * 4 + i] = static_cast<uint8_t>(from ? nvfp4_e4m3(from[i]) : 0);
    }
    if (F::SCALES != PANEL_K)
        return;
    uint32_t small = 0;
    int sc, min;
    if (a) {
        quant_k_scale(a + 4, in, &sc, &min);
        small |= static_cast<uint32_t>(sc) | static_cast<uint32_t>(min) << 16;
    }
    if (b) {
        quant_k_scale(b + 4, in, &sc, &min);
        small |= static_cast<uint32_t>(sc) << 8 | static_cast<uint32_t>(min) << 24;
    }
    put(s + (group * 8 + g) * 4, small);
    for (int line = 0; line < 2 && group == 0; line++)
        put(s + 64 + (g * 2 + line) * 4, pair(a, b, 2 * line));
}

template <class F> static __device__ void make_tile(const make_args &a, int64_t tile)
{
    const int lane = threadIdx.x % 32, g = lane / 4, quarter = lane % 4;
    const int row = static_cast<int>(tile / a.chunks) * PANEL_ROWS + g;
    uint8_t *out = a.out + tile * a.tile_bytes;
    uint32_t fifth = 0;
    for (int group = 0; group < PANEL_COLS / QUANT_GROUP; group++) {
        const int64_t col = tile % a.chunks * PANEL_COLS + group * QUANT_GROUP;
        const int in = static_cast<int>(col % F::BLOCK) / QUANT_GROUP;
        const uint8_t *block = a.raw + row * a.row_bytes + col / F::BLOCK * F::BYTES;
        const uint8_t *b[2] = {col < a.k && row < a.rows ? block : nullptr,
                               col < a.k && row + 8 < a.rows ? block + 8 * a.row_bytes : nullptr};
        uint32_t low[2] = {0, 0}, upper = 0;
        for (int reg = 0; reg < 4; reg++) {
            const uint8_t *from = b[reg % 2];
            const uint32_t v = from ? four<F>(from, in, quarter * 4 + reg / 2 * 16) : 0;
            if (F::BITS == 8)
                put(out + (group * 32 + lane) * 16 + reg * 4, v);
            if (cuda_panel_fp4(F::SCALES)) {
                const uint32_t two = (v | v >> 4) & 0x00ff00ff;
                low[reg % 2] |= ((two | two >> 8) & 0xffff) << reg / 2 * 16;
            } else {
                low[reg / 2] |= (v & 0x0f0f0f0f) << reg % 2 * 4;
            }
            fifth |= (v >> 4 & 0x01010101) << (group * 4 + reg);
            upper |= (v >> 4 & 0x03030303) << reg * 2;
        }
        if (F::BITS < 8)
            for (int i = 0; i < 2; i++)
                put(out + (group * 32 + lane) * 8 + i * 4, low[i]);
        if (F::BITS == 6)
            put(out + 512 + (group * 32 + lane) * 4, upper);
        uint8_t *s =
            out + (F::BITS == 8 ? 1024 : 512) + (F::BITS == 5 ? 128 : 0) + (F::BITS == 6 ? 256 : 0);
        if (quarter == 0)
            scales<F>(s, g, group, in, b[0], b[1]);
    }
    if (F::BITS == 5)
        put(out + 512 + lane * 4, fifth);
}

/* --- a group a lane: lane 16 group + row */

/* Register `reg`, of 4 bytes, of the row's quarter, where a lane has 16 bytes. */
static __device__ uint8_t *word_at(uint8_t *tile, int part, int row, int quarter, int reg)
{
    return tile + (part * 32 + row % 8 * 4 + quarter) * 16 + reg * 4;
}

static __device__ panel_any scales_any(const struct quant_ints &o)
{
    const bool halves = o.sum == QUANT_HALVES, apart = o.sum == QUANT_APART;
    panel_any a;
    a.d0 = halves ? o.d : __fmul_rn(o.d, static_cast<float>(o.sc[0]));
    a.d1 = apart ? __fmul_rn(o.d, static_cast<float>(o.sc[1])) : 0;
    a.m = o.has_min ? o.m : -0.0f;
    a.sc0 = static_cast<int8_t>(halves ? o.sc[0] : 1);
    a.sc1 = static_cast<int8_t>(halves ? o.sc[1] : !apart);
    a.mn0 = static_cast<int8_t>(o.mn[0]);
    a.mn1 = static_cast<int8_t>(o.mn[1]);
    return a;
}

/* The integers and scales of a group of any format, all zero without a block. */
static __device__ void group_any(enum dtype t, const uint8_t *block, int in, struct quant_ints *o)
{
    switch (t) {
#define CASE(Name, name)                                                                           \
    case DT_##Name:                                                                                \
        return name##_ints(block, in, o);
        OTHERS(CASE)
#undef CASE
    default:
        return;
    }
}

static __device__ void make_any(const make_args &a, uint8_t *tile, int row, int group,
                                const uint8_t *block, int in)
{
    struct quant_ints o = {};
    panel_any scales = {};
    if (block) {
        group_any(a.type, block, in, &o);
        scales = scales_any(o);
    }
    for (int i = 0; i < QUANT_GROUP; i += 4) {
        uint32_t v = 0;
        for (int b = 0; b < 4; b++)
            v |= static_cast<uint32_t>(static_cast<uint8_t>(o.q[i + b])) << 8 * b;
        put(word_at(tile, group, row, i % 16 / 4, row / 8 + i / 16 * 2), v);
    }
    reinterpret_cast<panel_any *>(tile + 1024)[(group * 8 + row % 8) * 2 + row / 8] = scales;
}

/* Four codes of e4m3 as panel.h has them. */
static __device__ uint32_t four_e4m3(const uint8_t *code)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t sign = code[i] >> 7, rest = code[i] & 0x7f;
        v |= (i < 2 ? sign << 15 | rest << 7 : sign << 14 | rest) << i % 2 * 16;
    }
    return v;
}

/* f32 d | 64 codes, of which these are 32. */
static __device__ void make_floats(const make_args &a, uint8_t *tile, int row, int group,
                                   const uint8_t *block)
{
    const bool bytes = a.type == DT_F8_E4M3;
    for (int i = 0; i < QUANT_GROUP; i += bytes ? 4 : 8) {
        const int quarter = group * 2 + i / 16, half = i % 16 / 8;
        const uint8_t *code = block + sizeof(float) + (group * QUANT_GROUP + i) / (bytes ? 1 : 2);
        if (bytes)
            put(word_at(tile, half, row, quarter, row / 8 * 2 + i % 8 / 4),
                block ? four_e4m3(code) : 0);
        else
            put(word_at(tile, 0, row, quarter, row / 8 * 2 + half), block ? quant_u32(code) : 0);
    }
    if (group == 0)
        put(tile + (bytes ? 1024 : 512) + (row % 8 * 2 + row / 8) * 4,
            block ? quant_u32(block) : 0);
}

static __device__ void make_groups(const make_args &a, int64_t tile)
{
    const int lane = threadIdx.x % 32, r = lane % PANEL_ROWS, group = lane / PANEL_ROWS;
    const int64_t row = tile / a.chunks * PANEL_ROWS + r;
    const int64_t col = tile % a.chunks * PANEL_COLS + group * QUANT_GROUP;
    const uint8_t *block = a.raw + row * a.row_bytes + col / a.block * a.bytes;
    uint8_t *out = a.out + tile * a.tile_bytes;
    if (col >= a.k || row >= a.rows)
        block = nullptr;
    if (a.type == DT_F8_E4M3 || a.type == DT_NF4)
        make_floats(a, out, r, group, block);
    else
        make_any(a, out, r, group, block, static_cast<int>(col % a.block) / QUANT_GROUP);
}

/* One kernel for all formats: it runs once a weight. */
static __global__ void __launch_bounds__(THREADS) panel_make(make_args a)
{
    const int64_t tile = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (tile >= a.tiles)
        return;
    switch (a.type) {
#define CASE(Name, bits, scales, call)                                                             \
    case DT_##Name:                                                                                \
        return make_tile<Make##Name>(a, tile);
        FORMATS(CASE)
#undef CASE
    default:
        return make_groups(a, tile);
    }
}

enum status cuda_panel_make(struct cuda_queue *q, const struct panel_raw *r)
{
    const int chunks = static_cast<int>(cuda_panel_chunks(r->k));
    make_args a;
    a.type = r->type;
    a.raw = static_cast<const uint8_t *>(r->raw);
    a.out = static_cast<uint8_t *>(r->out);
    a.row_bytes = static_cast<int64_t>(dtype_row_bytes(r->type, r->k));
    a.k = r->k;
    a.rows = r->rows;
    a.chunks = chunks;
    a.tiles = static_cast<int64_t>((r->rows + PANEL_ROWS - 1) / PANEL_ROWS) * chunks;
    a.tile_bytes = cuda_panel_format(r->type)->tile_bytes;
    a.block = dtype_info(r->type)->block;
    a.bytes = dtype_info(r->type)->bytes;
    const unsigned blocks = static_cast<unsigned>((a.tiles * 32 + THREADS - 1) / THREADS);
    return cuda_check(gpu_launch(panel_make, dim3(blocks), THREADS, 0, q->stream, a), "panels");
}
