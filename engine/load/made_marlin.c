/* made_marlin.c - packings of 4 bits in the order in which a GPU kernel's threads read them. The
 * numbers are GPTQ's and AWQ's, and so is what is made of them; only their places differ.
 *
 *   Marlin     B [K / 16, 2 N], s [G, N]: w = s (q - 8). Squares of 16 x 16, four side by side; the
 *              32 threads of a warp read a word of each square, 8 codes as mma.m16n8k16 wants them
 *              (lane 4 c + r: columns c and c + 8, rows 2 r, 2 r + 1, 2 r + 8, 2 r + 9), the even
 *              ones in the low half. Scales of 64 columns stand as 8 x 8 turned over, those of a
 *              weight with one group 32 by 32 as the accumulators lie.
 *   gemv_fast  qweight i16 [N / 4, K], scales, qzeros [>= G, N]: w = s q + qzeros, which is -s z.
 *              Four rows of 64 k share 64 words; 32 k as 4 x 4 x 2 with the ends exchanged. */
#include "engine/load/made.h"

#include <math.h>
#include <string.h>

#include "engine/load/safetensors.h"

enum { SQUARE = 16, WIDE = 64, STRIP = 64, FOUR_BITS_TOP = 15 };
enum { PART_SCALE = 1, PART_ZERO };

static void say_shape(struct made *m, struct ckpt_tensor *t)
{
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
}

/* ---- Marlin ---------------------------------------------------------------------------------- */

static int marlin_code(const unsigned char *b, const struct made *m, int64_t n, int64_t k)
{
    int row = (int)(k % SQUARE), column = (int)(n % SQUARE), square = (int)(n % WIDE / SQUARE);
    int lane = column % 8 * 4 + row % 8 / 2;
    int i = column / 8 * 4 + row / 8 * 2 + row % 2; /* of the lane's eight */
    int nibble = i / 2 + i % 2 * 4;
    int64_t word = k / SQUARE * 2 * m->n + n / WIDE * 128 + lane * 4 + square;
    uint32_t v;

    memcpy(&v, b + word * 4, sizeof v);
    return (int)(v >> 4 * nibble & 15);
}

/* Where the scales of column n are. */
static int64_t marlin_scale(const struct made *m, int64_t n)
{
    int in = (int)(n % (m->n_groups > 1 ? 64 : 32));

    return n - in + (m->n_groups > 1 ? in % 8 * 8 + in / 8 : in % 8 / 2 * 8 + in / 8 * 2 + in % 2);
}

static void rows_marlin(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                        struct made_rows *out)
{
    const unsigned char *b = made_bytes(c, m->part[0]);

    for (int i = 0; i < count; i++) {
        made_read_scales(c, m, marlin_scale(m, first + i), out->scale + i * m->n_groups);
        for (int64_t k = 0; k < m->k; k++)
            out->code[i * m->k + k] = (float)(marlin_code(b, m, first + i, k) - 8);
    }
}

static enum status look_marlin(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *b = m->part[0], *scale = m->part[PART_SCALE];

    (void)c;
    if (b->ndim != 2 || scale->ndim != 2 || scale->shape[1] % WIDE != 0 ||
        b->shape[1] != 2 * scale->shape[1])
        return fail(ERR_FORMAT, "tensor %s has shape [%lld, %lld]: no Marlin weight of 4 bits",
                    b->name, (long long)b->shape[0], (long long)(b->ndim > 1 ? b->shape[1] : 0));
    m->n = scale->shape[1];
    m->k = b->shape[0] * SQUARE;
    m->scale_k_rows = true;
    TRY(made_scales(m, scale));
    say_shape(m, t);
    made_fit(m, -8, 7, t);
    return OK;
}

/* ---- gemv_fast ------------------------------------------------------------------------------- */

/* The word of row n's k, from the first of its four rows on; its nibble is *nibble. */
static int64_t fast_place(int64_t n, int64_t k, int *nibble)
{
    int in = (int)(k % 32), turned = in % 8 / 2 * 8 + in % 2 * 4 + in / 8;
    int at = (int)(n % 4) * STRIP + (int)(k % STRIP) / 32 * 32 + turned;

    *nibble = at % 4;
    return k / STRIP * STRIP + at / 4;
}

/* What was multiplied by the scale and rounded: NaN where it is no zero point. */
static float fast_zero(const struct checkpoint *c, const struct made *m, int64_t n, int64_t group)
{
    float scale = made_number(c, m->scale, group * m->n + n);
    float shift = made_number(c, m->part[PART_ZERO], group * m->n + n);
    float z = shift == 0 ? 0 : -shift / scale, whole = rintf(z);

    return fabsf(z - whole) < 0.25f && whole >= 0 && whole <= FOUR_BITS_TOP ? whole : NAN;
}

static void rows_fast(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                      struct made_rows *out)
{
    const unsigned char *q = made_bytes(c, m->part[0]);

    for (int i = 0; i < count; i++) {
        int64_t n = first + i;

        made_read_scales(c, m, n, out->scale + i * m->n_groups);
        for (int64_t g = 0; g < m->n_groups; g++) {
            float zero = fast_zero(c, m, n, g);

            for (int64_t k = g * m->group; k < (g + 1) * m->group; k++) {
                int nibble;
                int64_t word = n / 4 * m->k + fast_place(n, k, &nibble);

                out->code[i * m->k + k] =
                    (float)(q[2 * word + nibble / 2] >> nibble % 2 * 4 & 15) - zero;
            }
        }
    }
}

/* Least and greatest zero point. */
static enum status zero_range(const struct checkpoint *c, const struct made *m, float *lo,
                              float *hi)
{
    *lo = FOUR_BITS_TOP;
    *hi = 0;
    for (int64_t n = 0; n < m->n; n++) {
        for (int64_t g = 0; g < m->n_groups; g++) {
            float zero = fast_zero(c, m, n, g);

            if (isnan(zero))
                return fail(ERR_FORMAT,
                            "tensor %s: row %lld of group %lld is no whole number of "
                            "scales",
                            m->part[PART_ZERO]->name, (long long)n, (long long)g);
            *lo = fminf(*lo, zero);
            *hi = fmaxf(*hi, zero);
        }
    }
    return OK;
}

static enum status look_fast(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[PART_SCALE],
                             *zero = m->part[PART_ZERO];
    double group = made_config(c, "quantization_config.group_size",
                               made_config(c, "quantization_config.q_group_size", 128));
    float lo, hi;

    if (q->ndim != 2 || scale->ndim != 2 || zero->ndim != 2 || !made_is_float(scale) ||
        !made_is_float(zero) || q->shape[1] < 1 || q->shape[1] % STRIP != 0)
        return fail(ERR_FORMAT, "tensor %s: no AWQ \"gemv_fast\" weight", q->name);
    m->n = q->shape[0] * 4;
    m->k = q->shape[1];
    m->group = group >= 1 && group < (double)m->k ? (int64_t)group : m->k;
    m->n_groups = m->k / m->group;
    m->scale = scale;
    m->scale_k_rows = true;
    if (m->n_groups * m->group != m->k || scale->shape[0] < m->n_groups ||
        scale->shape[1] != m->n || zero->shape[0] < m->n_groups || zero->shape[1] != m->n)
        return fail(ERR_FORMAT, "tensor %s has no scales and zeros for %lld x %lld groups", q->name,
                    (long long)m->n_groups, (long long)m->n);
    TRY(zero_range(c, m, &lo, &hi));
    say_shape(m, t);
    made_fit(m, -(double)hi, FOUR_BITS_TOP - (double)lo, t);
    return OK;
}

/* clang-format off */
static const struct scheme marlin = {
    .name = "Marlin", .part = {".B", ".s"},
    .needed = 2, .type = ST_I32, .scale = -1, .look = look_marlin, .rows = rows_marlin,
};
static const struct scheme fast = {
    .name = "AWQ gemv_fast", .part = {".qweight", ".scales", ".qzeros"},
    .needed = 3, .method = "awq", .type = ST_I16, .scale = -1, .look = look_fast, .rows = rows_fast,
};
const struct scheme made_awq_marlin = {
    .name = "AWQ Marlin", .part = {".qweight", ".scales"},
    .needed = 2, .method = "awq", .type = ST_I32, .scale = -1, .look = look_marlin, .rows = rows_marlin,
};
/* clang-format on */

const struct scheme *const made_ordered[] = {&marlin, &fast, NULL};
