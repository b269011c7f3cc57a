/* made_ints.c - packings of whole numbers: GPTQ, AWQ, compressed-tensors (packed, and int8), and
 * the int8 of bitsandbytes. They differ in where a code stands; what is made of it is the same.
 *
 *   gptq   qweight [K b / 32, N], qzeros [G, N b / 32]: w = s (q - z); version 1 stores z - 1
 *   awq    qweight [K, N / 8],    qzeros [G, N / 8]:    w = s (q - z); "gemv": both along K
 *   packed weight_packed [N, K b / 32], weight_zero_point [N b / 32, G]: both plus 2^(b - 1)
 *   int8   weight [N, K];  bitsandbytes: w = q SCB / 127
 *
 * Declared activation quantisation is left out: activations are quantised here as ours are. */
#include "engine/load/made.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/safetensors.h"

enum { PART_SCALE = 1, PART_ZERO, PART_INDEX }; /* GPTQ, AWQ, int8 */
enum { CT_SHAPE = 2, CT_ZERO, CT_INDEX };       /* compressed-tensors packed */

static const int awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/* ---- codes ----------------------------------------------------------------------------------- */

void made_run(const unsigned char *p, size_t step, int bits, int64_t count, float *out)
{
    uint32_t mask = (1u << bits) - 1;
    int64_t per = 32 / bits, k = 0;

    for (; 32 % bits == 0 && k + per <= count; k += per, p += step) {
        uint32_t v = made_word(p);

        for (int i = 0; i < per; i++, v >>= bits)
            out[k + i] = (float)(int)(v & mask);
    }
    p -= (size_t)(k * bits / 32) * step; /* the rest, and widths that cross words, one by one */
    for (; k < count; k++) {
        const unsigned char *at = p + (size_t)(k * bits / 32) * step;
        int shift = (int)(k * bits % 32);
        uint32_t v = made_word(at) >> shift;

        if (shift + bits > 32)
            v |= made_word(at + step) << (32 - shift);
        out[k] = (float)(int)(v & mask);
    }
}

/* The same bits of words that lie `step` bytes apart, and of the words behind them where the code
 * reaches over. */
static void unpack_column(const unsigned char *p, size_t step, const struct packed *w, int64_t bit,
                          int64_t count, float *out)
{
    uint32_t mask = (1u << w->bits) - 1;
    bool crosses = 32 % w->bits != 0;
    uint32_t word_more = w->less && !crosses ? UINT32_MAX / mask : 0; /* one to each code */
    uint32_t code_more = w->less && crosses ? 1 : 0;
    int shift = (int)(bit % 32);
    size_t next = w->by_rows ? (size_t)w->t->shape[1] * 4 : 4;

    for (int64_t k = 0; k < count; k++, p += step) {
        uint32_t v = (made_word(p) + word_more) >> shift;

        if (shift + w->bits > 32)
            v |= made_word(p + next) << (32 - shift);
        out[k] = (float)(int)((v + code_more) & mask);
    }
}

void made_codes(const struct checkpoint *c, const struct packed *w, int64_t n, int64_t count,
                float *out)
{
    const unsigned char *p = made_bytes(c, w->t);
    size_t row = (size_t)w->t->shape[w->t->ndim - 1] * 4; /* bytes, of words */
    int64_t bit = w->awq ? n / 8 * 32 + 4 * awq_nibble[n % 8] : n * w->bits;

    if (w->t->type_number == ST_I8) {
        const signed char *q = (const signed char *)p + n * count;

        for (int64_t k = 0; k < count; k++)
            out[k] = q[k];
    } else if (w->by_rows == w->k_rows) { /* packed along K */
        made_run(p + (size_t)n * (w->by_rows ? 4 : row), w->by_rows ? row : 4, w->bits, count, out);
    } else {
        unpack_column(p + (size_t)(bit / 32) * (w->by_rows ? row : 4), w->by_rows ? 4 : row, w, bit,
                      count, out);
    }
}

static void sort_columns(const struct made *m, float *code, float *sorted)
{
    for (int64_t k = 0; k < m->k; k++)
        sorted[k] = code[m->order[k]];
    memcpy(code, sorted, (size_t)m->k * sizeof *code);
}

/* code -= its zero point; by `index` (NULL: group after group). */
static void subtract(const struct made *m, const float *index, const float *zero, float *code)
{
    for (int64_t k = 0; k < m->k && index; k++)
        code[k] -= zero[(int64_t)index[k]];
    for (int64_t g = 0, k = 0; g < m->n_groups && !index; g++) {
        int64_t end = k + m->group < m->k ? k + m->group : m->k;

        for (; k < end; k++)
            code[k] -= zero[g];
    }
}

static void rows(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                 struct made_rows *out)
{
    const struct ckpt_tensor *g_idx = m->order ? m->sorted_by : m->g_idx;
    float *zero = xmalloc((size_t)m->n_groups * sizeof *zero);
    float *index = g_idx ? xmalloc((size_t)m->k * sizeof *index) : NULL;
    float *sorted = m->order ? xmalloc((size_t)m->k * sizeof *sorted) : NULL;

    if (g_idx)
        dtype_decode(DT_I32, made_bytes(c, g_idx), index, m->k);
    for (int i = 0; i < count; i++) {
        float *code = out->code + i * m->k;

        made_read_scales(c, m, first + i, out->scale + i * m->n_groups);
        made_codes(c, &m->code, first + i, m->k, code);
        if (m->zero.t)
            made_codes(c, &m->zero, first + i, m->n_groups, zero);
        for (int64_t g = 0; g < m->n_groups; g++)
            zero[g] = (m->zero.t ? zero[g] : 0) + (float)m->bias;
        subtract(m, index, zero, code);
        if (m->order)
            sort_columns(m, code, sorted);
    }
    xfree(zero);
    xfree(index);
    xfree(sorted);
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Words that `n` codes of so many bits take. */
static int64_t words(int64_t n, int bits)
{
    return (n * bits + 31) / 32;
}

static enum status expect_shape(const struct ckpt_tensor *t, int64_t rows_wanted, int64_t columns)
{
    if (t->ndim == 2 && t->shape[0] == rows_wanted && t->shape[1] == columns)
        return OK;
    return fail(ERR_FORMAT, "tensor %s has shape [%lld, %lld], expected [%lld, %lld]", t->name,
                (long long)t->shape[0], (long long)(t->ndim > 1 ? t->shape[1] : 0),
                (long long)rows_wanted, (long long)columns);
}

static enum status expect_type(const struct ckpt_tensor *t, enum st_type type)
{
    return t->type_number == (uint32_t)type
               ? OK
               : fail(ERR_FORMAT, "tensor %s has type %s, expected %s", t->name,
                      safetensors_type_name(t->type_number), safetensors_type_name(type));
}

/* The groups of g_idx: left out when they are k / group. */
static enum status look_index(struct checkpoint *c, struct made *m, const struct ckpt_tensor *t)
{
    bool plain = true;
    int none = 0;

    if (!t || made_count(t) == 0)
        return OK;
    if (made_count(t) != m->k || t->type_number != ST_I32)
        return fail(ERR_FORMAT, "tensor %s: expected %lld numbers of type I32", t->name,
                    (long long)m->k);
    for (int64_t k = 0; k < m->k; k++) {
        double g = made_number(c, t, k);

        none += g == -1; /* "not set" */
        if (g != -1 && (g < 0 || g >= (double)m->n_groups))
            return fail(ERR_FORMAT, "tensor %s: k %lld is in group %g of %lld", t->name,
                        (long long)k, g, (long long)m->n_groups);
        plain = plain && (g == -1 || (m->group > 0 && (int64_t)g == k / m->group));
    }
    if (none != 0 && none != m->k)
        return fail(ERR_FORMAT, "tensor %s: some numbers are -1, some are groups", t->name);
    m->g_idx = plain ? NULL : t;
    return plain ? OK : made_sort(c, m);
}

/* Where k / group is to name the group, it must name one that there is: a g_idx that says nothing
 * was no reason to take any number of scales. */
static enum status expect_groups(const struct made *m)
{
    if (m->g_idx || (m->group > 0 && (m->k + m->group - 1) / m->group == m->n_groups))
        return OK;
    return fail(ERR_FORMAT, "tensor %s: %lld weights in groups of %lld cannot share %lld scales",
                m->part[0]->name, (long long)m->k, (long long)m->group, (long long)m->n_groups);
}

/* Least and greatest zero point. */
static void zero_range(const struct checkpoint *c, const struct made *m, float *lo, float *hi)
{
    float *zero = xmalloc((size_t)m->n_groups * sizeof *zero);

    *lo = m->zero.t ? 1e9f : 0;
    *hi = m->zero.t ? -1e9f : 0;
    for (int64_t n = 0; n < m->n && m->zero.t; n++) {
        made_codes(c, &m->zero, n, m->n_groups, zero);
        for (int64_t g = 0; g < m->n_groups; g++) {
            *lo = fminf(*lo, zero[g]);
            *hi = fmaxf(*hi, zero[g]);
        }
    }
    xfree(zero);
}

/* With codes, zeros and scales in place: the format, from the range of what is to be stored. */
static void finish(const struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    bool is_signed = m->code.t->type_number == ST_I8;
    float lo, hi, least = is_signed ? -128 : 0,
                  most = is_signed ? 127 : (float)(1 << m->code.bits) - 1;

    zero_range(c, m, &lo, &hi);
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
    made_fit(m, (double)least - (double)hi - m->bias, (double)most - (double)lo - m->bias, t);
}

/* What `method`, a checkpoint_format or an AutoRound packing_format, says of zero points: were they
 * stored one less? */
static enum status look_zero_format(const struct checkpoint *c, bool *less)
{
    char format[64], method[64];

    made_config_text(c, "quantization_config.quant_method", method, sizeof method);
    if (strstr(method, "auto-round")) {
        made_auto_round(c, format, sizeof format);
        *less = strstr(format, "gptq") && !strstr(format, "gptqmodel");
        return OK;
    }
    if (made_config(c, "quantization_config.is_marlin_format", 0) != 0)
        return fail(ERR_FORMAT, "is_marlin_format is said of weights named as in plain GPTQ");
    made_config_text(c, "quantization_config.checkpoint_format", format, sizeof format);
    *less = strcmp(format, "gptq_v2") != 0;
    return !*format || !*less || strcmp(format, "gptq") == 0
               ? OK
               : fail(ERR_UNSUPPORTED,
                      "GPTQ checkpoint_format \"%s\" is not supported (supported: gptq gptq_v2)",
                      format);
}

/* The bits of this weight: some layers may have others than most, and the zero points tell. */
static enum status look_bits(const struct checkpoint *c, const struct made *m,
                             const struct ckpt_tensor *zero, int *out)
{
    double bits = made_config(c, "quantization_config.bits", 4);
    int64_t packed = zero->ndim == 2 ? zero->shape[1] : 0;
    char method[64];
    bool any;

    made_config_text(c, "quantization_config.quant_method", method, sizeof method);
    any = strstr(method, "auto-round") != NULL; /* others have planes of their own for 5, 6, 7 */
    if (bits >= 1 && bits <= 8 && words(m->n, (int)bits) != packed && m->n > 0)
        bits = (double)(packed * 32) / (double)m->n;
    *out = bits >= 1 && bits <= 8 ? (int)bits : 0;
    return *out == bits && (*out == 2 || *out == 3 || *out == 4 || *out == 8 || (any && *out > 3))
               ? OK
               : fail(ERR_UNSUPPORTED, "tensor %s has %g bits; 2, 3, 4 and 8 are supported",
                      m->part[0]->name, bits);
}

/* The size of a group where the configuration's fits `groups` of them; 0: K divided evenly. */
static int64_t said_group(const struct made *m, double said, int64_t groups)
{
    if (!(said >= 1) || said >= (double)m->k)
        return 0;
    return (m->k + (int64_t)said - 1) / (int64_t)said == groups ? (int64_t)said : 0;
}

static enum status look_gptq(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[PART_SCALE],
                             *zero = m->part[PART_ZERO];
    bool less;
    int bits;

    TRY(look_zero_format(c, &less));
    if (scale->ndim != 2 || q->ndim != 2)
        return fail(ERR_FORMAT, "tensor %s is no matrix", scale->name);
    m->n = q->shape[1];
    TRY(look_bits(c, m, zero, &bits));
    m->k = q->shape[0] * 32 / bits;
    m->code = (struct packed){q, bits, .k_rows = true, .by_rows = true};
    m->zero = (struct packed){zero, bits, .k_rows = true, .less = less};
    m->scale_k_rows = true;
    m->g_idx = m->part[PART_INDEX]; /* groups may be uneven */
    m->group = said_group(m, made_config(c, "quantization_config.group_size", 0), scale->shape[0]);
    TRY(made_scales(m, scale));
    TRY(expect_shape(scale, m->n_groups, m->n));
    TRY(expect_type(zero, ST_I32));
    TRY(expect_shape(zero, m->n_groups, words(m->n, bits)));
    m->g_idx = NULL;
    TRY(look_index(c, m, m->part[PART_INDEX]));
    TRY(expect_groups(m));
    finish(c, m, t);
    return OK;
}

/* Codes along N, eight in an order of their own. */
static enum status look_gemm(struct made *m, const struct ckpt_tensor *zero)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[PART_SCALE];

    m->n = q->shape[1] * 8;
    m->k = q->shape[0];
    m->code = (struct packed){q, 4, .k_rows = true, .awq = true};
    m->zero = (struct packed){zero, 4, .k_rows = true, .awq = true};
    m->scale_k_rows = true;
    TRY(made_scales(m, scale));
    TRY(expect_shape(scale, m->n_groups, m->n));
    return zero ? expect_shape(zero, m->n_groups, m->n / 8) : OK;
}

/* Codes along K, in order. Scales and zeros have columns that stand for no group. */
static enum status look_gemv(const struct checkpoint *c, struct made *m,
                             const struct ckpt_tensor *zero)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[PART_SCALE];
    double group = made_config(c, "quantization_config.group_size",
                               made_config(c, "quantization_config.q_group_size", 128));

    m->n = q->shape[0];
    m->k = q->shape[1] * 8;
    m->group = group >= 1 && group < (double)m->k ? (int64_t)group : m->k;
    m->n_groups = m->k > 0 ? m->k / m->group : 0;
    m->code = (struct packed){q, 4, .k_rows = false};
    m->zero = (struct packed){zero, 4, .k_rows = false};
    m->scale = scale;
    if (!zero || scale->ndim != 2 || !made_is_float(scale) || m->n_groups * m->group != m->k)
        return fail(ERR_FORMAT, "tensor %s: AWQ \"gemv\" needs zeros, scales and even groups",
                    q->name);
    m->scale_step = scale->shape[1];
    if (m->scale_step < m->n_groups || m->scale_step % 8 != 0)
        return fail(ERR_FORMAT, "tensor %s has %lld scales a row for %lld groups", scale->name,
                    (long long)m->scale_step, (long long)m->n_groups);
    TRY(expect_shape(scale, m->n, m->scale_step));
    return expect_shape(zero, m->n, m->scale_step / 8);
}

static enum status look_awq(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0], *zero = m->part[PART_ZERO];
    double bits =
        made_config(c, "quantization_config.bits", made_config(c, "quantization_config.w_bit", 4));
    char version[32];

    made_config_text(c, "quantization_config.version", version, sizeof version);
    if (!*version) /* as another library spells it */
        made_config_text(c, "quantization_config.checkpoint_format", version, sizeof version);
    if (bits != 4)
        return fail(ERR_UNSUPPORTED, "AWQ of %g bits is not supported (supported: 4)", bits);
    if (q->ndim != 2)
        return fail(ERR_FORMAT, "tensor %s is no matrix", q->name);
    if (zero)
        TRY(expect_type(zero, ST_I32));
    if (strcmp(version, "marlin") == 0 && !zero) {
        m->scheme = &made_awq_marlin;
        return made_awq_marlin.look(c, m, t);
    }
    m->bias = zero ? 0 : 8;
    if (strcmp(version, "gemv") == 0)
        TRY(look_gemv(c, m, zero));
    else if (!*version || strcmp(version, "gemm") == 0 || strncmp(version, "exllama", 7) == 0)
        TRY(look_gemm(m, zero));
    else
        return fail(ERR_UNSUPPORTED,
                    "AWQ version \"%s\" of these tensors is not supported "
                    "(supported: gemm gemv gemv_fast marlin)",
                    version);
    finish(c, m, t);
    return OK;
}

/* Zero points of compressed-tensors: packed along N, or int8 as they are. */
static enum status look_zero(struct made *m, const struct ckpt_tensor *zero, int bits)
{
    m->bias = zero ? 0 : 1 << (bits - 1);
    if (!zero)
        return OK;
    m->zero = (struct packed){zero, bits, .by_rows = true};
    if (zero->type_number == ST_I8) {
        m->bias = m->code.t->type_number == ST_I8 ? 0 : 1 << (bits - 1);
        return made_count(zero) == m->n * m->n_groups
                   ? OK
                   : fail(ERR_FORMAT, "tensor %s: expected %lld zero points", zero->name,
                          (long long)(m->n * m->n_groups));
    }
    TRY(expect_type(zero, ST_I32));
    return expect_shape(zero, words(m->n, bits), m->n_groups);
}

/* Groups that do not divide K have their size in the configuration alone: in one of its groups. */
static int64_t ct_group(const struct checkpoint *c, const struct made *m,
                        const struct ckpt_tensor *scale)
{
    int64_t columns = scale->ndim == 2 && scale->shape[1] > 0 ? scale->shape[1] : 1, size = 0;
    char group[128], key[160];

    for (int i = 0; m->k % columns != 0 && size == 0 && i < MADE_GROUPS &&
                    made_group(c, i, group, sizeof group);
         i++) {
        snprintf(key, sizeof key, "%sweights.group_size", group);
        size = said_group(m, made_config(c, key, 0), columns);
    }
    return size;
}

static enum status look_packed(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0], *shape = m->part[CT_SHAPE];
    int64_t bits;

    if (q->ndim != 2 || made_count(shape) != 2 || made_is_float(shape))
        return fail(ERR_FORMAT, "tensor %s needs weight_shape with two whole numbers", q->name);
    for (int i = 0; i < 2; i++) {
        float side = made_number(c, shape, i);

        *(i ? &m->k : &m->n) = side >= 1 && side < INT32_MAX ? (int64_t)side : 0;
    }
    bits = m->k > 0 ? q->shape[1] * 32 / m->k : 0;
    if (m->n != q->shape[0] || m->k < 1 || bits < 1 || bits > 8 ||
        words(m->k, (int)bits) != q->shape[1])
        return fail(ERR_FORMAT, "tensor %s has shape [%lld, %lld], weight_shape says [%lld, %lld]",
                    q->name, (long long)q->shape[0], (long long)q->shape[1], (long long)m->n,
                    (long long)m->k);
    m->code = (struct packed){q, (int)bits, .k_rows = false};
    m->g_idx = m->part[CT_INDEX];
    if (made_count(m->part[PART_SCALE]) == 1)
        m->scale_n = m->n > 1 ? m->n : 2; /* one for all */
    m->group = ct_group(c, m, m->part[PART_SCALE]);
    TRY(made_scales(m, m->part[PART_SCALE]));
    m->g_idx = NULL;
    TRY(look_zero(m, m->part[CT_ZERO], (int)bits));
    TRY(look_index(c, m, m->part[CT_INDEX]));
    TRY(expect_groups(m));
    finish(c, m, t);
    return OK;
}

/* Two rows a byte, the first low: -8 .. 7. */
static void rows_int4(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                      struct made_rows *out)
{
    for (int i = 0; i < count; i++) {
        const unsigned char *q = made_bytes(c, m->part[0]) + (first + i) / 2 * m->k;
        int shift = (first + i) % 2 ? 4 : 0;

        made_read_scales(c, m, first + i, out->scale + i * m->n_groups);
        for (int64_t k = 0; k < m->k; k++)
            out->code[i * m->k + k] = (float)(((q[k] >> shift & 15) ^ 8) - 8);
    }
}

static enum status look_int4(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0];

    (void)c;
    if (q->ndim != 2)
        return fail(ERR_FORMAT, "tensor %s is no matrix", q->name);
    m->n = q->shape[0] * 2;
    m->k = q->shape[1];
    TRY(made_scales(m, m->part[PART_SCALE]));
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
    made_fit(m, -8, 7, t);
    return OK;
}

static enum status look_int8(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0];
    bool bitsandbytes = strstr(m->part[PART_SCALE]->name, ".SCB") != NULL;

    if (q->ndim != 2)
        return fail(ERR_FORMAT, "tensor %s is no matrix", q->name);
    m->n = q->shape[0];
    m->k = q->shape[1];
    m->code = (struct packed){q, 8, .k_rows = false};
    m->scale_by = bitsandbytes ? 1.0f / 127 : 1;
    if (made_count(m->part[PART_SCALE]) == 1)
        m->scale_n = m->n > 1 ? m->n : 2;
    m->group = ct_group(c, m, m->part[PART_SCALE]);
    TRY(made_scales(m, m->part[PART_SCALE]));
    TRY(look_zero(m, bitsandbytes ? NULL : m->part[PART_ZERO], 8));
    m->bias = 0;
    finish(c, m, t);
    return OK;
}

/* clang-format off */
static const struct scheme gptq = {
    .name = "GPTQ", .part = {".qweight", ".scales", ".qzeros", ".g_idx"},
    .needed = 3, .method = "gptq", .type = ST_I32, .scale = -1, .look = look_gptq, .rows = rows,
};
static const struct scheme awq = {
    .name = "AWQ", .part = {".qweight", ".scales", ".qzeros"},
    .needed = 2, .method = "awq", .type = ST_I32, .scale = -1, .look = look_awq, .rows = rows,
};
static const struct scheme packed = {
    .name = "compressed-tensors packed",
    .part = {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"},
    .needed = 3, .type = ST_I32, .scale = -1, .look = look_packed, .rows = rows,
};
static const struct scheme int8 = {
    .name = "int8", .part = {".weight", ".weight_scale", ".weight_zero_point", ".pre_quant_scale"},
    .needed = 2, .type = ST_I8, .scale = -1, .look = look_int8, .rows = rows,
};
static const struct scheme modelopt = {
    .name = "ModelOpt int4", .part = {".weight", ".weight_scale", ".pre_quant_scale"},
    .needed = 2, .type = ST_U8, .scale = ST_F32, .look = look_int4, .rows = rows_int4,
};
static const struct scheme bitsandbytes = {
    .name = "bitsandbytes int8", .part = {".weight", ".SCB", ".weight_format"},
    .needed = 2, .type = ST_I8, .scale = -1, .look = look_int8, .rows = rows,
};
/* clang-format on */

const struct scheme *const made_ints[] = {&gptq,         &awq,      &packed,    &int8,
                                          &bitsandbytes, &modelopt, &made_exl2, NULL};
