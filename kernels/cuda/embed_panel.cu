/* embed_panel.cu - reading rows out of panels: the token table of a model whose head is tied to it.
 *
 * A thread decodes a group of 32 columns of one row, as kernels/dtype.c does: products and one sum,
 * each rounded. Bytes: a row's share of its tiles, a sector for each 4 to 16 bytes wanted; a step's
 * rows are few, so the launch is the cost. */
#include "kernels/cuda/linear_floats.cuh"

#include "kernels/cuda/cuda.h"

enum { THREADS = 128, GROUP = 32 };

GPU_FN float half_at(const uint8_t *p)
{
    return __half2float(*reinterpret_cast<const __half *>(p));
}

/* The integer of row r, column c, of a tile. */
GPU_FN int number_at(const panel_format &f, const uint8_t *tile, int r, int c)
{
    const int group = c / 32, in = c % 32, byte = in % 4;
    const int lane = r % 8 * 4 + in % 16 / 4, reg = r / 8 + in / 16 * 2;
    if (f.bits == 8)
        return static_cast<int8_t>(tile[(group * 32 + lane) * 16 + reg * 4 + byte]);
    if (cuda_panel_fp4(f.scales)) {
        const uint8_t two = tile[(group * 32 + lane) * 8 + reg % 2 * 4 + reg / 2 * 2 + byte / 2];
        return fp4_value(two >> byte % 2 * 4 & 15);
    }
    int v = tile[(group * 32 + lane) * 8 + reg / 2 * 4 + byte] >> reg % 2 * 4 & 15;
    if (f.bits == 5)
        v |= (tile[512 + lane * 4 + byte] >> (group * 4 + reg) & 1) << 4;
    if (f.bits == 6)
        v |= (tile[512 + (group * 32 + lane) * 4 + byte] >> reg * 2 & 3) << 4;
    return f.sign && v >> (f.bits - 1) ? v - (1 << f.bits) : v;
}

/* Scale and minimum of each half of a group of row r; `s` is where the scales begin. */
GPU_FN void scales_at(const panel_format &f, const uint8_t *s, int r, int group, float (&d)[2],
                      float (&min)[2])
{
    float m = -0.0f;
    const int g = r % 8, pair = r / 8;
    const uint8_t *small = s + (group * 8 + g) * 4;
    if (f.scales == PANEL_D) {
        d[0] = d[1] = half_at(s + ((group * 8 + g) * 2 + pair) * 2);
    } else if (f.scales == PANEL_DM) {
        d[0] = d[1] = half_at(s + ((group * 8 + g) * 4 + pair) * 2);
        m = half_at(s + ((group * 8 + g) * 4 + 2 + pair) * 2);
    } else if (f.scales == PANEL_K) {
        d[0] = d[1] = __fmul_rn(half_at(s + 64 + (g * 4 + pair) * 2), small[pair]);
        m = -__fmul_rn(half_at(s + 64 + (g * 4 + 2 + pair) * 2), small[2 + pair]);
    } else if (cuda_panel_fp4(f.scales)) {
        const uint8_t *tile = s - 512;
        const linear_scale v = f.scales == PANEL_E8
                                   ? linear_ints<4, false, PANEL_E8>::scales(tile, group, g)
                                   : linear_ints<4, false, PANEL_E4>::scales(tile, group, g);
        d[0] = pair ? v.d.y : v.d.x;
        d[1] = pair ? v.high.y : v.high.x;
    } else if (f.scales == PANEL_ANY) {
        const panel_any a = reinterpret_cast<const panel_any *>(s)[(group * 8 + g) * 2 + pair];
        d[0] = __fmul_rn(a.d0, a.sc0);
        d[1] = a.sc1 == 0 && a.d1 != 0 ? a.d1 : __fmul_rn(a.d0, a.sc1);
        min[0] = __fmul_rn(a.m, a.mn0);
        min[1] = __fmul_rn(a.m, a.mn1);
        return;
    } else {
        for (int i = 0; i < 2; i++)
            d[i] = __fmul_rn(half_at(s + 64 + (g * 2 + pair) * 2),
                             static_cast<int8_t>(small[2 * pair + i]));
    }
    min[0] = min[1] = m;
}

/* The numbers of a group, times `scale`. */
GPU_FN void decode_group(const panel_format &f, const uint8_t *tile, int r, int group, float scale,
                         float *y)
{
    if (f.scales == PANEL_F32) {
        for (int i = 0; i < GROUP; i++)
            y[i] = scale * (f.bits == 8 ? linear_floats<8>::number(tile, r, group * GROUP + i)
                                        : linear_floats<4>::number(tile, r, group * GROUP + i));
        return;
    }
    float d[2], m[2];
    const int at = f.bits == 8 ? 1024 : 512 + (f.bits == 5 ? 128 : 0) + (f.bits == 6 ? 256 : 0);
    scales_at(f, tile + at, r, group, d, m);
    for (int i = 0; i < GROUP; i++) {
        const int number = number_at(f, tile, r, group * GROUP + i);
        const float v = i < 16 ? __fadd_rn(__fmul_rn(d[0], number), m[0])
                               : __fadd_rn(__fmul_rn(d[1], number), m[1]);
        y[i] = scale * v;
    }
}

static __global__ void __launch_bounds__(THREADS, 4) panel_rows(struct op_embed a, panel_format f)
{
    const int64_t r = blockIdx.x, k = a.table.shape[1], chunks = (k + PANEL_COLS - 1) / PANEL_COLS;
    gpu_let_next();
    gpu_wait_earlier();
    if (a.r.live && r >= a.r.live[0])
        return;
    float *y = reinterpret_cast<float *>(static_cast<char *>(a.y.data) + r * a.y.stride[0]);
    int32_t token = a.token[r];
    if (token == TOKEN_FROM_SLOT)
        token = a.last[a.r.seq_slot[a.r.row_seq[r]]];
    if (token < 0) {
        const float *x = reinterpret_cast<const float *>(static_cast<const char *>(a.rows.data) +
                                                         ~token * a.rows.stride[0]);
        for (int64_t i = threadIdx.x; i < k; i += THREADS)
            y[i] = a.scale * x[i];
        return;
    }
    const uint8_t *line =
        static_cast<const uint8_t *>(a.table.data) + token / PANEL_ROWS * chunks * f.tile_bytes;
    for (int64_t i = threadIdx.x; i * GROUP < k; i += THREADS) {
        decode_group(f, line + i / 2 * f.tile_bytes, token % PANEL_ROWS, i % 2, a.scale,
                     y + i * GROUP);
    }
}

enum status cuda_panel_embed(struct cuda_queue *q, const struct op_embed *a)
{
    const panel_format *f = cuda_panel_format(static_cast<enum dtype>(a->table.dtype));
    if (!f)
        return fail(ERR_UNSUPPORTED, "embed: %s has no panels",
                    dtype_info(static_cast<enum dtype>(a->table.dtype))->name);
    return cuda_check(
        gpu_launch_early({q->stream, q->early}, panel_rows, a->y.shape[0], THREADS, 0, *a, *f),
        "embed");
}
