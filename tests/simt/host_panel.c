/* host_panel.c - see host_panel.h. Written from the description in kernels/cuda/panel.h, row by row
 * where the device goes lane by lane. */
#include "tests/simt/host_panel.h"

#include <string.h>

#include "kernels/cuda/panel.h"
#include "kernels/quant/mxfp4.h"
#include "kernels/quant/nvfp4.h"

/* The lane that holds a row's quarter: 4 columns of 16. */
static int lane_of(int row, int quarter)
{
    return row % 8 * 4 + quarter;
}

static void or_word(uint8_t *at, uint32_t v)
{
    uint32_t w;
    memcpy(&w, at, 4);
    w |= v;
    memcpy(at, &w, 4);
}

/* Columns col to col + 3, col a multiple of 4: one integer a byte, as `stored` has them. */
static void put_ints(const struct panel_format *f, uint8_t *tile, int row, int col, uint32_t v)
{
    int group = col / 32, in = col % 32, lane = lane_of(row, in % 16 / 4);
    int reg = row / 8 + in / 16 * 2;
    if (f->bits == 8) {
        or_word(tile + (group * 32 + lane) * 16 + reg * 4, v);
        return;
    }
    if (cuda_panel_fp4(f->scales)) {
        uint32_t two = (v | v >> 4) & 0x00ff00ff;
        or_word(tile + (group * 32 + lane) * 8 + reg % 2 * 4, ((two | two >> 8) & 0xffff)
                                                                  << reg / 2 * 16);
        return;
    }
    or_word(tile + (group * 32 + lane) * 8 + reg / 2 * 4, (v & 0x0f0f0f0f) << reg % 2 * 4);
    if (f->bits == 5)
        or_word(tile + 512 + lane * 4, (v >> 4 & 0x01010101) << (group * 4 + reg));
    if (f->bits == 6)
        or_word(tile + 512 + (group * 32 + lane) * 4, (v >> 4 & 0x03030303) << reg * 2);
}

static size_t scales_at(const struct panel_format *f)
{
    return f->bits == 8 ? 1024 : 512 + (f->bits == 5 ? 128u : 0) + (f->bits == 6 ? 256u : 0);
}

/* Entry [at][row] of pairs for rows g, g + 8, `lines` such pairs for each of 8 g. */
static void put_pair(uint8_t *p, int row, int lines, int line, const uint8_t *f16)
{
    memcpy(p + ((row % 8 * lines + line) * 2 + row / 8) * 2, f16, 2);
}

/* The scale bytes of one group of 32 columns; `block` is the source block, `in` its group. */
static void put_scales(const struct panel_format *f, uint8_t *s, int row, int group,
                       const uint8_t *block, int in)
{
    int sc, min, pair = row / 8;
    uint8_t *small = s + (group * 8 + row % 8) * 4;
    switch (f->scales) {
    case PANEL_D:
        put_pair(s + group * 32, row, 1, 0, block);
        break;
    case PANEL_DM:
        put_pair(s + group * 64, row, 2, 0, block);
        put_pair(s + group * 64, row, 2, 1, block + 2);
        break;
    case PANEL_K:
        quant_k_scale(block + 4, in, &sc, &min);
        small[pair] = (uint8_t)sc;
        small[2 + pair] = (uint8_t)min;
        put_pair(s + 64, row, 2, 0, block);
        put_pair(s + 64, row, 2, 1, block + 2);
        break;
    case PANEL_6:
        small[2 * pair] = block[192 + 2 * in];
        small[2 * pair + 1] = block[193 + 2 * in];
        put_pair(s + 64, row, 1, 0, block + 208);
        break;
    case PANEL_E8:
        s[(row % 8 * 2 + pair) * 2 + group] = block[0];
        break;
    case PANEL_E4:
        for (int half = 2 * in; half < 2 * in + 2; half++)
            s[(row % 8 * 2 + pair) * 4 + half] = (uint8_t)nvfp4_e4m3(block[half]);
        break;
    case PANEL_ANY: /* put_any */
    case PANEL_F32: /* put_floats */
        break;
    }
}

static void put_any(uint8_t *s, int row, int group, const struct quant_ints *o)
{
    bool halves = o->sum == QUANT_HALVES, apart = o->sum == QUANT_APART;
    struct panel_any a = {.d0 = halves ? o->d : o->d * (float)o->sc[0],
                          .d1 = apart ? o->d * (float)o->sc[1] : 0,
                          .m = o->has_min ? o->m : -0.0f,
                          .sc0 = (int8_t)(halves ? o->sc[0] : 1),
                          .sc1 = (int8_t)(halves ? o->sc[1] : !apart),
                          .mn0 = (int8_t)o->mn[0],
                          .mn1 = (int8_t)o->mn[1]};
    memcpy(s + ((size_t)(group * 8 + row % 8) * 2 + (size_t)(row / 8)) * sizeof a, &a, sizeof a);
}

/* What a panel holds of a group: its integers, or its codes of e2m1. */
static void numbers(const struct panel_format *f, const struct dtype_info *type,
                    const uint8_t *block, int in, struct quant_ints *o)
{
    type->ints(block, in, o);
    for (int i = 0; cuda_panel_fp4(f->scales) && i < QUANT_GROUP; i++)
        o->q[i] =
            (int8_t)(f->scales == PANEL_E8 ? quant_nibble(block + 1, i) : nvfp4_code(block, in, i));
}

/* Four integers in two's complement of the format's few bits, byte by byte. */
static uint32_t stored(const struct panel_format *f, const int8_t *q)
{
    uint32_t v;
    memcpy(&v, q, 4);
    return v & ((1u << f->bits) - 1) * 0x01010101u;
}

/* A block of 64 codes that stand for floats: f32 d | codes. */
static void put_floats(const struct panel_format *f, uint8_t *tile, int row, const uint8_t *block)
{
    const uint8_t *code = block + sizeof(float);
    memcpy(tile + scales_at(f) + (row % 8 * 2 + row / 8) * 4, block, sizeof(float));
    for (int col = 0; col < PANEL_COLS; col += 4) {
        int lane = lane_of(row, col / 16), word = row / 8 * 2 + col % 8 / 4, half = col % 16 / 8;
        if (f->bits == 4) {
            uint32_t four = (uint32_t)code[col / 2] | (uint32_t)code[col / 2 + 1] << 8;
            or_word(tile + lane * 16 + (row / 8 * 2 + half) * 4, four << col % 8 / 4 * 16);
            continue;
        }
        for (int i = 0; i < 4; i++) {
            uint32_t c = code[col + i], sign = c >> 7, rest = c & 0x7f;
            uint32_t v = i < 2 ? sign << 15 | rest << 7 : sign << 14 | rest;
            or_word(tile + (half * 32 + lane) * 16 + word * 4, v << i % 2 * 16);
        }
    }
}

static void pack_row(const struct panel_format *f, const struct tensor *w, int64_t from, int row,
                     uint8_t *tiles)
{
    const struct dtype_info *type = dtype_info((enum dtype)w->dtype);
    const uint8_t *p = tensor_row(w, from);
    int64_t k = w->shape[1];
    for (int64_t c = 0; c < k; c += QUANT_GROUP) {
        const uint8_t *block = p + c / type->block * type->bytes;
        int in = (int)(c % type->block / QUANT_GROUP), col = (int)(c % PANEL_COLS);
        uint8_t *tile = tiles + c / PANEL_COLS * f->tile_bytes;
        struct quant_ints o;
        if (f->scales == PANEL_F32) {
            if (in == 0)
                put_floats(f, tile, row, block);
            continue;
        }
        numbers(f, type, block, in, &o);
        for (int i = 0; i < QUANT_GROUP; i += 4)
            put_ints(f, tile, row, col + i, stored(f, o.q + i));
        if (f->scales == PANEL_ANY)
            put_any(tile + scales_at(f), row, col / QUANT_GROUP, &o);
        else
            put_scales(f, tile + scales_at(f), row, col / QUANT_GROUP, block, in);
    }
}

void host_panel_pack(const struct tensor *src, int n, int64_t first, int64_t count, void *out)
{
    const struct panel_format *f = cuda_panel_format((enum dtype)src[0].dtype);
    size_t line = (size_t)cuda_panel_chunks(src[0].shape[1]) * (size_t)f->tile_bytes;
    int64_t start = 0, lo = first * PANEL_ROWS, hi = lo + count * PANEL_ROWS;
    memset(out, 0, line * (size_t)count);
    for (int i = 0; i < n; start += src[i++].shape[0])
        for (int64_t r = lo > start ? lo - start : 0; r < src[i].shape[0] && start + r < hi; r++) {
            int64_t at = start + r - lo;
            pack_row(f, &src[i], r, (int)(at % PANEL_ROWS),
                     (uint8_t *)out + (size_t)(at / PANEL_ROWS) * line);
        }
}
