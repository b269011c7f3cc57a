/* made_floats.c - packings whose codes stand for floats: FP8 (per tensor, row, group, or square
 * block), FP4 with scales of 16 (NVFP4) or 32 (MXFP4), and bitsandbytes' codes of 4 bits.
 *
 *   fp8     w = e4m3 * scale: f8_e4m3 with the scale of each 64, where that is possible; else one
 *           scale is the weight's `global` and f16 holds the codes exactly, and others are
 *           multiplied in, rounded once to f16
 *   nvfp4   w = e2m1 * e4m3 scale / global (compressed-tensors), * weight_scale_2 (ModelOpt)
 *   mxfp4   w = e2m1 * 2^(e - 127)
 *   4 bits  w = map[code] * absmax[i / 64], i counting over the whole weight; absmax may itself be
 *           codes: nested_map[a] * nested_absmax[j / 256] + offset. nf4 where the map is the usual
 *           one, else rounded once to f16
 *
 * FP4 stays in our blocks of the same name: the nibbles move, nothing is computed. */
#include "engine/load/made.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/safetensors.h"
#include "kernels/base/json.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/nf4.h"

static const float e2m1[16] = {0,     0.5f,  1,     1.5f,  2,  3,  4,  6,
                               -0.0f, -0.5f, -1.0f, -1.5f, -2, -3, -4, -6};

/* ---- FP8 ------------------------------------------------------------------------------------- */

#define BEFORE ".pre_quant_scale"

enum { FP8_SCALE = 1, FP8_SCALE_INV, SIDE_MOST = 1 << 24 /* of what shares a scale */ };

static void rows_fp8(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                     struct made_rows *out)
{
    const unsigned char *q = made_bytes(c, m->part[0]) + first * m->k;
    float value[256];

    for (unsigned x = 0; x < 256; x++)
        value[x] = made_fp8(m->part[0]->type_number, x);
    for (int i = 0; i < count; i++)
        made_read_scales(c, m, first + i, out->scale + i * m->n_groups);
    for (int64_t i = 0; i < count * m->k; i++)
        out->code[i] = value[q[i]];
}

/* Two numbers of the configuration. */
static bool read_sides(const struct checkpoint *c, const char *key, int64_t size[2])
{
    const struct value *v = checkpoint_key(c, key);
    struct value e;

    for (int i = 0; i < 2; i++) {
        if (!v || !checkpoint_at(c, v, i, &e) || e.integer < 1 || e.integer >= SIDE_MOST)
            return false;
        size[i] = e.integer;
    }
    return true;
}

static bool sides_fit(const struct made *m, const struct ckpt_tensor *scale, const int64_t size[2])
{
    return (m->n + size[0] - 1) / size[0] == scale->shape[0] &&
           (m->k + size[1] - 1) / size[1] == scale->shape[1];
}

/* The sides of the square that shares a scale: what the configuration says where that fits, of
 * several groups the first that does. */
static void block_size(const struct checkpoint *c, const struct made *m,
                       const struct ckpt_tensor *scale, int64_t size[2])
{
    char group[128], key[160];

    if (read_sides(c, "quantization_config.weight_block_size", size))
        return;
    for (int i = 0; i < MADE_GROUPS && made_group(c, i, group, sizeof group); i++) {
        snprintf(key, sizeof key, "%sweights.block_structure", group);
        if (read_sides(c, key, size) && sides_fit(m, scale, size))
            return;
    }
    size[0] = size[1] = 128;
}

static enum status one_number(const struct checkpoint *c, const struct ckpt_tensor *t, float *out)
{
    *out = made_count(t) == 1 && made_is_float(t) ? made_number(c, t, 0) : 0;
    return *out > 0 && isfinite(*out)
               ? OK
               : fail(ERR_FORMAT, "tensor %s: expected one positive number", t->name);
}

static void whole(struct made *m, struct ckpt_tensor *t)
{
    m->group = m->k;
    m->n_groups = 1;
    t->dtype = DT_F16;
}

static bool blocks_fp8(const struct checkpoint *c, const struct made *m, int64_t i, uint8_t *out)
{
    const unsigned char *q = made_bytes(c, m->part[0]) + i * m->k;
    bool fits = true;

    for (int64_t k = 0; k < m->k; k += F8_E4M3_BLOCK, out += F8_E4M3_BYTES) {
        float d = made_scale(c, m, i, k / m->group);

        memcpy(out, &d, sizeof d);
        memcpy(out + sizeof d, q + k, F8_E4M3_BLOCK);
        for (int j = 0; j < F8_E4M3_BLOCK; j++)
            fits &= (q[k + j] & 0x7f) != 0x7f;
        fits &= isfinite(d) != 0;
    }
    return fits;
}

/* [rows, 1, columns, 1], as ModelOpt writes the scales of squares, is [rows, columns]. */
static enum status squeeze(struct checkpoint *c, const struct ckpt_tensor **scale)
{
    struct ckpt_tensor *two;

    if ((*scale)->ndim != 4 || (*scale)->shape[1] != 1 || (*scale)->shape[3] != 1)
        return OK;
    two = arena_alloc(&c->arena, sizeof *two);
    if (!two)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    *two = **scale;
    two->ndim = 2;
    two->shape[1] = (*scale)->shape[2];
    *scale = two;
    return OK;
}

static enum status look_fp8(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *scale =
        m->part[FP8_SCALE] ? m->part[FP8_SCALE] : m->part[FP8_SCALE_INV];
    bool one = !scale || made_count(scale) == 1;
    int64_t size[2];

    if (scale)
        TRY(squeeze(c, &scale));
    m->k = t->shape[t->ndim - 1];
    m->n = m->k ? made_count(t) / m->k : 0;
    whole(m, t);
    if (!one) {
        m->group = 0;
        if (scale->shape[0] != m->n && scale->ndim == 2) {
            block_size(c, m, scale, size);
            m->scale_n = size[0];
            m->group = size[1];
        }
    } else {
        m->scale_n = m->n > 1 ? m->n : 2;
    }
    if (scale)
        TRY(made_scales(m, scale));
    if (m->k % F8_E4M3_BLOCK == 0 && (m->group % F8_E4M3_BLOCK == 0 || m->n_groups == 1) &&
        t->ndim == 2 && t->type_number == ST_F8_E4M3) {
        t->dtype = DT_F8_E4M3;
        t->row_scale = m->n_groups == 1;
    } else if (!one) {
        made_fit(m, -1e9, 1e9, t);
    } else if (scale) { /* f16 holds the codes exactly */
        m->scale = NULL;
        return one_number(c, scale, &t->global);
    }
    return OK;
}

/* ---- FP4 ------------------------------------------------------------------------------------- */

enum { FP4_SCALE = 1, FP4_GLOBAL };

static unsigned nibble(const unsigned char *row, int64_t k)
{
    return row[k / 2] >> (k % 2 * 4) & 15;
}

static const unsigned char *code_row(const struct checkpoint *c, const struct made *m, int64_t i)
{
    return made_bytes(c, m->part[0]) + i * (m->k / 2);
}

static const unsigned char *scale_row(const struct checkpoint *c, const struct made *m, int64_t i)
{
    return made_bytes(c, m->part[FP4_SCALE]) + i * m->n_groups;
}

static void rows_fp4(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                     struct made_rows *out)
{
    for (int i = 0; i < count; i++) {
        const unsigned char *row = code_row(c, m, first + i);

        made_read_scales(c, m, first + i, out->scale + i * m->n_groups);
        for (int64_t k = 0; k < m->k; k++)
            out->code[i * m->k + k] = e2m1[nibble(row, k)];
    }
}

/* Groups of 16: bytes of E4M3, whose sign moves into the codes; then element j low, j + 8 high. Of
 * greater groups each 16 get the scale. */
static bool blocks_nvfp4(const struct checkpoint *c, const struct made *m, int64_t i, uint8_t *out)
{
    const unsigned char *row = code_row(c, m, i), *scale = scale_row(c, m, i);

    for (int64_t g = 0; g < m->k / 16; g++) {
        uint8_t *block = out + g / 4 * 36, *codes = block + 4 + g % 4 * 8;
        uint8_t d = scale[g * 16 / m->group];
        unsigned flip = d & 0x80 ? 0x88 : 0;

        block[g % 4] = d & 0x7f;
        for (int j = 0; j < 8; j++)
            codes[j] =
                (uint8_t)((nibble(row, 16 * g + j) | nibble(row, 16 * g + j + 8) << 4) ^ flip);
    }
    return true;
}

/* Groups of 32: the exponent, then element j low, j + 16 high. */
static bool blocks_mxfp4(const struct checkpoint *c, const struct made *m, int64_t i, uint8_t *out)
{
    const unsigned char *row = code_row(c, m, i), *scale = scale_row(c, m, i);

    for (int64_t g = 0; g < m->n_groups; g++, out += 17) {
        out[0] = scale[g];
        for (int j = 0; j < 16; j++)
            out[1 + j] = (uint8_t)(nibble(row, 32 * g + j) | nibble(row, 32 * g + j + 16) << 4);
    }
    return true;
}

/* Codes [N, K / 2] with scales [N, K / group]; further dimensions in front belong to N. */
static enum status look_fp4(struct made *m, struct ckpt_tensor *t, int64_t columns, int group)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[FP4_SCALE];

    m->k = columns * 2;
    m->n = m->k ? made_count(q) / columns : 0;
    m->group = group;
    m->n_groups = m->k / group;
    m->scale_step = m->n_groups;
    m->scale = scale;
    if (q->ndim < 2 || m->n < 1 || m->k % group != 0 || made_count(scale) != m->n * m->n_groups)
        return fail(ERR_FORMAT, "tensor %s: %lld scales do not fit [%lld, %lld] in groups of %d",
                    scale->name, (long long)made_count(scale), (long long)m->n, (long long)m->k,
                    group);
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
    return OK;
}

static enum status look_nvfp4(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *global = m->part[FP4_GLOBAL];
    const struct ckpt_tensor *scale = m->part[FP4_SCALE];
    bool reciprocal = global && strstr(global->name, "_global_scale");
    int64_t k = 2 * t->shape[t->ndim - 1], groups = scale->shape[scale->ndim - 1];
    bool wide = groups > 0 && k % 32 == 0 && groups * 32 == k; /* W4A8_NVFP4_FP8 */

    TRY(look_fp4(m, t, t->shape[t->ndim - 1], wide ? 32 : 16));
    if (m->scale->type_number != ST_F8_E4M3)
        return fail(ERR_FORMAT, "tensor %s has type %s, expected F8_E4M3", m->scale->name,
                    safetensors_type_name(m->scale->type_number));
    if (global)
        TRY(one_number(c, global, &t->global));
    if (reciprocal)
        t->global = 1 / t->global;
    t->dtype = m->k % dtype_info(DT_NVFP4)->block == 0 ? DT_NVFP4 : DT_F16;
    return OK;
}

static enum status look_mxfp4(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *scale = m->part[FP4_SCALE];

    (void)c;
    if (t->shape[t->ndim - 1] == 24 * scale->shape[scale->ndim - 1])
        return fail(ERR_UNSUPPORTED, "floats of 6 bits (MXFP6) are not supported");
    t->dtype = DT_MXFP4;
    return look_fp4(m, t, t->shape[t->ndim - 1], 32);
}

/* gpt-oss: [..., N, K / 32, 16] and [..., N, K / 32]. */
static enum status look_gpt_oss(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    struct ckpt_tensor whole_shape = *t;

    (void)c;
    if (t->ndim < 3 || t->shape[t->ndim - 1] != 16)
        return fail(ERR_FORMAT, "tensor %s: expected [..., K / 32, 16]", m->part[0]->name);
    t->dtype = DT_MXFP4;
    TRY(look_fp4(m, t, 16 * t->shape[t->ndim - 2], 32));
    t->ndim = (uint8_t)(whole_shape.ndim - 1);
    memcpy(t->shape, whole_shape.shape, sizeof t->shape);
    t->shape[t->ndim - 1] = m->k;
    return OK;
}

/* ---- bitsandbytes ---------------------------------------------------------------------------- */

enum { BNB_ABSMAX = 1, BNB_MAP, BNB_NESTED_ABSMAX, BNB_NESTED_MAP, BNB_NF4, BNB_FP4 };

static float absmax(const struct checkpoint *c, const struct made *m, int64_t j)
{
    float a = made_number(c, m->part[BNB_ABSMAX], j);

    if (!m->part[BNB_NESTED_ABSMAX])
        return a;
    return made_number(c, m->part[BNB_NESTED_MAP], (int64_t)a) *
               made_number(c, m->part[BNB_NESTED_ABSMAX], j / m->nested_block) +
           m->offset;
}

static void rows_bnb(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                     struct made_rows *out)
{
    const unsigned char *q = made_bytes(c, m->part[0]);
    int64_t at = first * m->k, end = (at / m->block + 1) * m->block;
    float map[16], scale = absmax(c, m, at / m->block);

    for (int i = 0; i < 16; i++)
        map[i] = made_number(c, m->part[BNB_MAP], i);
    for (int64_t i = 0; i < count * m->k; i++, at++) {
        if (at == end) {
            scale = absmax(c, m, at / m->block);
            end += m->block;
        }
        out->code[i] = map[q[at / 2] >> (at % 2 ? 0 : 4) & 15] * scale;
    }
    for (int i = 0; i < count; i++)
        made_read_scales(c, m, first + i, out->scale + i);
}

static bool is_nf4(const struct checkpoint *c, const struct ckpt_tensor *map)
{
    for (int i = 0; i < 16; i++) {
        if (made_number(c, map, i) != nf4_value[i])
            return false;
    }
    return true;
}

static bool blocks_nf4(const struct checkpoint *c, const struct made *m, int64_t i, uint8_t *out)
{
    const unsigned char *q = made_bytes(c, m->part[0]) + i * m->k / 2;
    bool fits = true;

    for (int64_t k = 0; k < m->k; k += NF4_BLOCK, out += NF4_BYTES) {
        float d = absmax(c, m, (i * m->k + k) / m->block);

        memcpy(out, &d, sizeof d);
        for (int j = 0; j < NF4_BLOCK / 2; j++)
            out[sizeof d + (size_t)j] = (uint8_t)(q[k / 2 + j] >> 4 | q[k / 2 + j] << 4);
        fits &= isfinite(d) != 0;
    }
    return fits;
}

static int64_t count_of(const struct json *v, int64_t absent)
{
    int64_t n;

    return json_integer(v, &n) ? n : absent;
}

/* The state: JSON in a tensor of bytes. */
static enum status read_state(struct made *m, const struct json *v)
{
    const struct json *shape = json_get(v, "shape"), *offset = json_get(v, "nested_offset");

    m->n = count_of(json_at(shape, 0), 0);
    m->k = count_of(json_at(shape, 1), 0);
    m->block = count_of(json_get(v, "blocksize"), 64);
    m->nested_block = count_of(json_get(v, "nested_blocksize"), 256);
    m->offset = json_is(offset, JSON_NUMBER) ? (float)offset->number : 0;
    return m->n > 0 && m->k > 0 && m->n <= INT32_MAX && m->k <= INT32_MAX && m->block > 0 &&
                   m->nested_block > 0 && m->block < SIDE_MOST && m->nested_block < SIDE_MOST
               ? OK
               : fail(ERR_FORMAT, "its quant_state has no shape of two numbers");
}

static enum status look_state(const struct checkpoint *c, struct made *m,
                              const struct ckpt_tensor *t)
{
    const struct json *v;
    struct arena a;
    enum status s;

    if (!t)
        return fail(ERR_FORMAT, "its quant_state is missing");
    if (t->bytes > 1 << 16)
        return fail(ERR_FORMAT, "its quant_state has %zu bytes", t->bytes);
    arena_init(&a, 1 << 22);
    s = json_parse(&a, (const char *)made_bytes(c, t), t->bytes, &v);
    if (s == OK)
        s = read_state(m, v);
    else
        fail_in(s, "its quant_state");
    arena_clear(&a);
    return s;
}

static enum status expect_count(const struct ckpt_tensor *t, int64_t n)
{
    return t && made_count(t) == n ? OK
                                   : fail(ERR_FORMAT, "tensor %s: expected %lld numbers",
                                          t ? t->name : "nested_quant_map", (long long)n);
}

static enum status look_bnb(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    int64_t blocks;
    bool nested = m->part[BNB_NESTED_ABSMAX] != NULL;

    TRY(look_state(c, m, m->part[BNB_NF4] ? m->part[BNB_NF4] : m->part[BNB_FP4]));
    blocks = (m->n * m->k + m->block - 1) / m->block;
    TRY(expect_count(m->part[0], (m->n * m->k + 1) / 2));
    TRY(expect_count(m->part[BNB_ABSMAX], blocks));
    TRY(expect_count(m->part[BNB_MAP], 16));
    if (nested) {
        TRY(expect_count(m->part[BNB_NESTED_ABSMAX],
                         (blocks + m->nested_block - 1) / m->nested_block));
        TRY(expect_count(m->part[BNB_NESTED_MAP], 256));
        if (m->part[BNB_ABSMAX]->type_number != ST_U8)
            return fail(ERR_FORMAT, "tensor %s: expected type U8", m->part[BNB_ABSMAX]->name);
    }
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
    whole(m, t);
    if (m->k % NF4_BLOCK == 0 && m->block % NF4_BLOCK == 0 && is_nf4(c, m->part[BNB_MAP]))
        t->dtype = DT_NF4;
    else
        made_fit(m, -1e9, 1e9, t);
    return OK;
}

/* clang-format off */
static const struct scheme e4m3 = {
    .name = "FP8", .part = {".weight", ".weight_scale", ".weight_scale_inv", BEFORE},
    .needed = 1, .type = ST_F8_E4M3, .scale = -1, .look = look_fp8, .rows = rows_fp8, .blocks = blocks_fp8,
};
static const struct scheme e5m2 = {
    .name = "FP8", .part = {".weight", ".weight_scale", ".weight_scale_inv"},
    .needed = 1, .type = ST_F8_E5M2, .scale = -1, .look = look_fp8, .rows = rows_fp8,
};
static const struct scheme nvfp4 = {
    .name = "NVFP4", .part = {".weight_packed", ".weight_scale", ".weight_global_scale"},
    .needed = 2, .type = ST_U8, .scale = ST_F8_E4M3, .look = look_nvfp4, .rows = rows_fp4, .blocks = blocks_nvfp4,
};
static const struct scheme modelopt = {
    .name = "ModelOpt NVFP4", .part = {".weight", ".weight_scale", ".weight_scale_2", BEFORE},
    .needed = 3, .type = ST_U8, .scale = ST_F8_E4M3, .look = look_nvfp4, .rows = rows_fp4, .blocks = blocks_nvfp4,
};
static const struct scheme mxfp4 = {
    .name = "MXFP4", .part = {".weight_packed", ".weight_scale"},
    .needed = 2, .type = ST_U8, .scale = ST_U8, .look = look_mxfp4, .blocks = blocks_mxfp4,
};
static const struct scheme modelopt_mx = {
    .name = "ModelOpt MXFP4", .part = {".weight", ".weight_scale"},
    .needed = 2, .type = ST_U8, .scale = ST_U8, .look = look_mxfp4, .blocks = blocks_mxfp4,
};
static const struct scheme gpt_oss = {
    .name = "MXFP4", .part = {"_blocks", "_scales"}, .bare = true,
    .needed = 2, .type = ST_U8, .scale = ST_U8, .look = look_gpt_oss, .blocks = blocks_mxfp4,
};
static const struct scheme bnb = {
    .name = "bitsandbytes 4 bit",
    .part = {".weight", ".weight.absmax", ".weight.quant_map", ".weight.nested_absmax", ".weight.nested_quant_map",
             ".weight.quant_state.bitsandbytes__nf4", ".weight.quant_state.bitsandbytes__fp4"},
    .needed = 3, .type = ST_U8, .scale = -1, .look = look_bnb, .rows = rows_bnb, .blocks = blocks_nf4,
};
/* clang-format on */

const struct scheme *const made_floats[] = {&e4m3,        &e5m2,    &nvfp4, &modelopt, &mxfp4,
                                            &modelopt_mx, &gpt_oss, &bnb,   NULL};
