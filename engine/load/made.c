/* made.c - rows of codes and scales into blocks; what the schemes share.
 *
 * Rows are made in tiles that several threads take in turn: a tile's codes are a few hundred
 * kilobytes, so memory never holds more than the result. */
#include "engine/load/made.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/safetensors.h"
#include "kernels/base/thread.h"
#include "kernels/half.h"

enum { TILE = 16, MAX_THREADS = 16, BLOCK = 32 };

/* ---- what schemes ask ------------------------------------------------------------------------ */

double made_config(const struct checkpoint *c, const char *key, double absent)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind <= VALUE_FLOAT ? v->number : absent;
}

const char *made_config_text(const struct checkpoint *c, const char *key, char *out, size_t size)
{
    const struct value *v = checkpoint_key(c, key);
    size_t n = v && v->kind == VALUE_STRING ? v->text.n : 0;

    n = n < size ? n : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] =
            (char)(v->text.p[i] >= 'A' && v->text.p[i] <= 'Z' ? v->text.p[i] | 0x20 : v->text.p[i]);
    out[n] = '\0';
    return out;
}

bool made_group(const struct checkpoint *c, int i, char *out, size_t size)
{
    static const char head[] = "quantization_config.config_groups.", tail[] = "weights.num_bits";

    for (int k = 0; k < c->n_keys && i >= 0; k++) {
        const char *name = c->key[k].name;
        size_t n = strlen(name), fixed = sizeof head - 1 + sizeof tail - 1;

        if (strncmp(name, head, sizeof head - 1) != 0 || n <= fixed ||
            strcmp(name + n - (sizeof tail - 1), tail) != 0)
            continue;
        if (i-- == 0)
            snprintf(out, size, "%.*s", (int)(n - (sizeof tail - 1)), name);
    }
    return i < 0;
}

const char *made_auto_round(const struct checkpoint *c, char *out, size_t size)
{
    made_config_text(c, "quantization_config.packing_format", out, size);
    if (!*out)
        made_config_text(c, "quantization_config.backend", out, size);
    if (!*out)
        snprintf(out, size, "auto_round:auto_gptq");
    return out;
}

const unsigned char *made_bytes(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    return c->file[t->file].data + t->offset;
}

int64_t made_count(const struct ckpt_tensor *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

bool made_is_float(const struct ckpt_tensor *t)
{
    return t->type_number <= ST_F8_E8M0;
}

/* Sign, 4 bits of exponent (bias 7), 3 bits: f16 without its low bits, 2^8 times as large. 0x7f is
 * no number. */
static float e4m3(unsigned x)
{
    float v = half_f16((uint16_t)((x & 0x80) << 8 | (x & 0x7f) << 7)) * 256;

    return (x & 0x7f) == 0x7f ? NAN : v;
}

float made_fp8(uint32_t type, unsigned code)
{
    return type == ST_F8_E4M3 ? e4m3(code) : half_f16((uint16_t)(code << 8));
}

float made_number(const struct checkpoint *c, const struct ckpt_tensor *t, int64_t i)
{
    const unsigned char *p = made_bytes(c, t) + i * safetensors_type_bytes(t->type_number);
    float v = 0;

    switch (t->type_number) {
    case ST_F8_E4M3:
    case ST_F8_E5M2:
        return made_fp8(t->type_number, *p);
    case ST_F8_E8M0:
    case ST_U8:
    case ST_BOOL:
        return t->type_number == ST_F8_E8M0 ? ldexpf(1, *p - 127) : *p;
    default:
        if (t->dtype >= 0)
            dtype_decode((enum dtype)t->dtype, p, &v, 1);
        return v;
    }
}

enum status made_scales(struct made *m, const struct ckpt_tensor *t)
{
    int64_t rows = (m->n + m->scale_n - 1) / m->scale_n, count = made_count(t);
    int64_t columns = t->ndim < 2 ? 1 : t->shape[m->scale_k_rows ? 0 : 1];

    if (!made_is_float(t) && t->type_number != ST_U8)
        return fail(ERR_FORMAT, "tensor %s is not of a float type", t->name);
    if (m->n < 1 || m->k < 1)
        return fail(ERR_FORMAT, "the weight is empty");
    m->scale = t;
    m->scale_step = columns;
    if (count == 1 && m->scale_n > 1) { /* one for all */
        m->scale_n = m->n;
        m->n_groups = 1;
        m->group = m->k;
        return OK;
    }
    m->n_groups = columns;
    if (columns < 1 || count != rows * columns || t->ndim > 2)
        return fail(ERR_FORMAT, "tensor %s has %lld scales, which %lld rows cannot share", t->name,
                    (long long)count, (long long)m->n);
    if (!m->group && m->k % columns == 0)
        m->group = m->k / columns;
    return (m->group && (m->k + m->group - 1) / m->group == columns) || m->g_idx
               ? OK
               : fail(
                     ERR_FORMAT,
                     "tensor %s has %lld scales a row, which %lld weights in groups of %lld cannot "
                     "share",
                     t->name, (long long)columns, (long long)m->k, (long long)m->group);
}

/* Scales that are not f16 in the file, and f16 weights, use its range from 2^-32 on. */
enum { RANGE = 256 };

void made_fit(struct made *m, double lo, double hi, struct ckpt_tensor *t)
{
    bool blocks = m->k % BLOCK == 0 && (m->group % BLOCK == 0 || m->n_groups == 1) && !m->g_idx;

    t->dtype = !blocks                   ? DT_F16
               : lo >= -8 && hi <= 7     ? DT_Q4_0
               : lo >= -16 && hi <= 15   ? DT_Q5_0
               : lo >= -128 && hi <= 127 ? DT_Q8_0
                                         : DT_F16;
    if (t->dtype == DT_F16 || m->scale_by != 1 || !m->scale || m->scale->type_number != ST_F16)
        t->global = 1.0f / RANGE;
    m->up = t->global != 0 ? RANGE : 1;
    t->order = m->order;
}

enum status made_sort(struct checkpoint *c, struct made *m)
{
    int32_t *order = arena_alloc(&c->arena, (size_t)m->k * sizeof *order);
    int64_t *at = xcalloc((size_t)m->n_groups + 1, sizeof *at); /* where each group goes on */
    bool even = true;

    for (int64_t k = 0; k < m->k; k++)
        at[(int64_t)made_number(c, m->g_idx, k) + 1]++;
    for (int64_t g = 0; g < m->n_groups; g++) {
        at[g + 1] += at[g];
        even = even && at[g] == g * m->group;
    }
    for (int64_t k = 0; k < m->k && order; k++)
        order[at[(int64_t)made_number(c, m->g_idx, k)]++] = (int32_t)k;
    xfree(at);
    if (!order)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    if (even && m->group % BLOCK == 0) {
        m->order = order;
        m->sorted_by = m->g_idx;
        m->g_idx = NULL;
    }
    return OK;
}

float made_scale(const struct checkpoint *c, const struct made *m, int64_t row, int64_t group)
{
    int64_t r = row / m->scale_n, rows = (m->n + m->scale_n - 1) / m->scale_n;
    int64_t i = m->scale_k_rows ? group * rows + r : r * m->scale_step + group;
    float v = m->scale ? made_number(c, m->scale, i) * m->scale_by : 1;

    if (m->scale && m->scale->type_number == ST_U8) /* exponents that call themselves bytes */
        v = ldexpf(1, (int)v - 127);
    return v * m->up;
}

void made_read_scales(const struct checkpoint *c, const struct made *m, int64_t row, float *out)
{
    for (int64_t g = 0; g < m->n_groups; g++)
        out[g] = made_scale(c, m, row, g);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* One block of 32 whole numbers q under the scale d; false: it cannot be. */
static bool put_block(enum dtype t, const float *q, float d, uint8_t *out)
{
    uint16_t h = half_to_f16(d);
    int zero = t == DT_Q4_0 ? 8 : t == DT_Q5_0 ? 16 : 128, most = 2 * zero - 1;
    uint8_t *at = out + 2, u[BLOCK];
    uint32_t high = 0;

    memcpy(out, &h, sizeof h);
    for (int i = 0; i < BLOCK; i++) {
        int v = (int)q[i] + zero;

        if (v < 0 || v > most)
            return false;
        u[i] = (uint8_t)v;
        high |= (uint32_t)(v >> 4 & 1) << i;
    }
    if (t == DT_Q8_0) {
        for (int i = 0; i < BLOCK; i++)
            at[i] = (uint8_t)(u[i] ^ 128);
        return (h & 0x7c00) != 0x7c00;
    }
    if (t == DT_Q5_0) {
        memcpy(at, &high, sizeof high);
        at += sizeof high;
    }
    for (int i = 0; i < BLOCK / 2; i++)
        at[i] = (uint8_t)((u[i] & 15) | (u[i + BLOCK / 2] & 15) << 4);
    return (h & 0x7c00) != 0x7c00;
}

static bool put_half(float v, uint8_t *out)
{
    uint16_t h = half_to_f16(v);

    memcpy(out, &h, sizeof h);
    return (h & 0x7c00) != 0x7c00;
}

/* A row's codes [k] and scales [n_groups] as the result. */
static bool put_row(const struct checkpoint *c, const struct made *m, enum dtype t,
                    const float *code, const float *scale, uint8_t *out)
{
    const struct dtype_info *info = dtype_info(t);
    bool fits = true;

    for (int64_t k = 0; k < m->k && t == DT_F16 && m->g_idx; k++)
        fits &= put_half(code[k] * scale[(int64_t)made_number(c, m->g_idx, k)], out + 2 * k);
    for (int64_t g = 0, k = 0; g < m->n_groups && t == DT_F16 && !m->g_idx; g++) {
        for (int64_t end = k + m->group < m->k ? k + m->group : m->k; k < end; k++)
            fits &= put_half(code[k] * scale[g], out + 2 * k);
    }
    if (t == DT_F16)
        return fits;
    for (int64_t k = 0; k < m->k; k += BLOCK, out += info->bytes)
        fits &= put_block(t, code + k, scale[k / m->group], out);
    return fits;
}

/* ---- threads --------------------------------------------------------------------------------- */

struct filling {
    const struct checkpoint *c;
    const struct made *m;
    enum dtype dtype;
    bool straight; /* no codes in between */
    int tile;      /* rows that are taken at a time */
    size_t row_bytes;
    uint8_t *out;
    _Atomic int64_t next; /* the first row nobody has taken */
    _Atomic bool bad;
};

/* The columns of some rows by what their inputs are multiplied by. */
static void multiply_columns(const struct filling *f, int count, float *code)
{
    const struct made *m = f->m;

    for (int64_t k = 0; k < m->k && m->before; k++) {
        float by = made_number(f->c, m->before, k);

        for (int i = 0; i < count; i++)
            code[i * m->k + k] *= by;
    }
}

static void fill_tile(struct filling *f, int64_t first, int count, struct made_rows *rows)
{
    const struct made *m = f->m;
    bool blocks = m->scheme->blocks && f->dtype != DT_F16;

    if (f->straight) {
        if (!made_straight(f->c, m, f->dtype, first, count, f->out + (size_t)first * f->row_bytes))
            f->bad = true;
        return;
    }
    if (!blocks) {
        m->scheme->rows(f->c, m, first, count, rows);
        multiply_columns(f, count, rows->code);
    }
    for (int i = 0; i < count; i++) {
        uint8_t *out = f->out + (size_t)(first + i) * f->row_bytes;
        bool fits = blocks ? m->scheme->blocks(f->c, m, first + i, out)
                           : put_row(f->c, m, f->dtype, rows->code + i * m->k,
                                     rows->scale + i * m->n_groups, out);

        if (!fits)
            f->bad = true;
    }
}

static void *fill_tiles(void *arg)
{
    struct filling *f = arg;
    const struct made *m = f->m;
    struct made_rows rows = {NULL, NULL};

    if (!f->straight) {
        rows.code = xmalloc((size_t)(f->tile * m->k) * sizeof(float));
        rows.scale = xmalloc((size_t)(f->tile * m->n_groups) * sizeof(float));
    }
    for (;;) {
        int64_t first = atomic_fetch_add(&f->next, f->tile);

        if (first >= m->n)
            break;
        fill_tile(f, first, m->n - first < f->tile ? (int)(m->n - first) : f->tile, &rows);
    }
    xfree(rows.code);
    xfree(rows.scale);
    return NULL;
}

enum status made_fill(const struct checkpoint *c, const struct ckpt_tensor *t, void *out)
{
    const struct made *m = t->made;
    struct filling f = {.c = c, .m = m, .dtype = (enum dtype)t->dtype, .out = out};
    int64_t tiles;
    int most = thread_cpus(), n = 0;
    pthread_t thread[MAX_THREADS];

    f.row_bytes = dtype_row_bytes(f.dtype, m->k);
    most = most > MAX_THREADS ? MAX_THREADS : most;
    f.straight = made_is_straight(m, f.dtype);
    f.tile = f.straight ? made_straight_rows(m, most) : TILE;
    tiles = (m->n + f.tile - 1) / f.tile;
    for (; n + 1 < most && n + 1 < tiles; n++) {
        if (thread_start(&thread[n], "unpack", fill_tiles, &f) != OK)
            break; /* fewer then */
    }
    fill_tiles(&f);
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MADE_PARTS; i++) {
        if (m->part[i])
            file_map_drop(&c->file[m->part[i]->file], m->part[i]->offset, m->part[i]->bytes);
    }
    return f.bad ? fail(ERR_FORMAT, "a weight or scale of the %s packing is out of range",
                        m->scheme->name)
                 : OK;
}
