/* test_words.c - blocks out of packed whole numbers, over more rows than are made at a time. Codes,
 * zero points and scales are drawn first and packed here, bit by bit, as each library says; every
 * weight must come out as s (q - z), exactly. */
#include "tests/support/test.h"

#include <string.h>

#include "engine/load/checkpoint.h"
#include "kernels/base/mem.h"
#include "kernels/dtype.h"
#include "kernels/half.h"

enum { N = 1096, K = 160, MAX_GROUPS = 5, MAX_BYTES = N * K + N * MAX_GROUPS * 6 + 4096 };
enum way { GPTQ, AWQ, AWQ_GEMV, PACKED, INT8 };

/* clang-format off */
static const struct packing {
    enum way way;
    int bits, group;
    bool zeros; /* drawn; else the middle */
    bool bf16;  /* scales; else f16 */
    const char *format;
} packing[] = {
    {GPTQ,     4,  32, true,  false, "q5_0"},
    {GPTQ,     4,  96, false, false, "q4_0"}, /* the last group is short */
    {GPTQ,     3,  32, true,  false, "q4_0"}, /* crosses words */
    {GPTQ,     2, 160, true,  false, "q4_0"},
    {GPTQ,     8,  32, false, false, "q8_0"},
    {AWQ,      4,  32, true,  false, "q5_0"},
    {AWQ,      4, 160, false, false, "q4_0"},
    {AWQ_GEMV, 4,  32, true,  false, "q5_0"},
    {PACKED,   4,  32, false, true,  "q4_0"},
    {PACKED,   4,  32, true,  false, "q5_0"},
    {PACKED,   5, 160, false, false, "q5_0"},
    {PACKED,   6,  32, false, true,  "q8_0"},
    {PACKED,   7,  32, false, true,  "q8_0"},
    {PACKED,   8,  32, false, true,  "q8_0"},
    {INT8,     8, 160, false, true,  "q8_0"},
};
/* clang-format on */
enum { N_PACKINGS = sizeof packing / sizeof *packing };

struct drawn {
    int q[N][K], z[N][MAX_GROUPS];
    uint16_t s[N][MAX_GROUPS];
};

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 16;
}

static int groups_of(const struct packing *p)
{
    return (K + p->group - 1) / p->group;
}

static void draw_all(const struct packing *p, struct drawn *d)
{
    uint32_t state = (uint32_t)(p - packing) + 1;
    int half = 1 << (p->bits - 1);

    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            d->q[n][k] = (int)(draw(&state) % (2u << (p->bits - 1)));
        for (int g = 0; g < groups_of(p); g++) {
            float s = (float)(1 + draw(&state) % 200) / 4096;

            d->z[n][g] = p->zeros ? (int)(draw(&state) % (2u << (p->bits - 1))) : half;
            d->s[n][g] = p->bf16 ? half_to_bf16(s) : half_to_f16(s);
        }
    }
}

/* Code i of a stream of words that lie `step` words apart. */
static void put(uint32_t *word, size_t step, int i, int bits, unsigned v)
{
    for (int b = 0; b < bits; b++) {
        int at = i * bits + b;

        word[(size_t)(at / 32) * step] |= (v >> b & 1) << at % 32;
    }
}

static int words(int n, int bits)
{
    return (n * bits + 31) / 32;
}

/* ---- a file ---------------------------------------------------------------------------------- */

struct file {
    struct buf header, data;
};

/* A tensor of zero bytes, to be filled before the next one is added. */
static void *add(struct file *f, const char *suffix, const char *type, int rows, int columns,
                 int bytes)
{
    static const uint8_t none[MAX_BYTES];
    size_t at = f->data.len, n = (size_t)rows * (size_t)columns * (size_t)bytes;

    assert_true(n <= MAX_BYTES);
    buf_printf(&f->header, "%c\"model.layers.0.self_attn.q_proj.%s\":{\"dtype\":\"%s\",",
               f->header.len ? ',' : '{', suffix, type);
    if (rows > 1 || strcmp(suffix, "g_idx") != 0)
        buf_printf(&f->header, "\"shape\":[%d,%d],", rows, columns);
    else
        buf_printf(&f->header, "\"shape\":[%d],", columns);
    buf_printf(&f->header, "\"data_offsets\":[%zu,%zu]}", at, at + n);
    buf_append(&f->data, none, n);
    return f->data.data + at;
}

static void add_scales(struct file *f, const struct packing *p, const struct drawn *d)
{
    bool by_group = p->way == GPTQ || p->way == AWQ;
    int groups = groups_of(p), step = p->way == AWQ_GEMV ? 8 : groups;
    uint16_t *s = add(f, p->way <= AWQ_GEMV ? "scales" : "weight_scale", p->bf16 ? "BF16" : "F16",
                      by_group ? groups : N, by_group ? N : step, 2);

    for (int n = 0; n < N; n++) {
        for (int g = 0; g < groups; g++)
            s[by_group ? g * N + n : n * step + g] = d->s[n][g];
    }
}

static const int awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static void add_along_n(struct file *f, const struct packing *p, const struct drawn *d)
{
    int row = words(N, p->bits), bits = p->bits, awq = p->way == AWQ;
    uint32_t *w = add(f, "qweight", "I32", awq ? K : words(K, bits), awq ? row : N, 4);

    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++) {
            if (awq)
                put(w + k * row, 1, n / 8 * 8 + awq_nibble[n % 8], 4, (unsigned)d->q[n][k]);
            else
                put(w + n, N, k, bits, (unsigned)d->q[n][k]);
        }
    }
    w = add(f, "qzeros", "I32", groups_of(p), row, 4);
    for (int n = 0; n < N; n++) {
        for (int g = 0; g < groups_of(p); g++)
            put(w + g * row, 1, awq ? n / 8 * 8 + awq_nibble[n % 8] : n, bits,
                (unsigned)d->z[n][g]);
    }
}

static void add_gemv(struct file *f, const struct drawn *d)
{
    uint32_t *w = add(f, "qweight", "I32", N, K / 8, 4);

    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            put(w + n * (K / 8), 1, k, 4, (unsigned)d->q[n][k]);
    }
    w = add(f, "qzeros", "I32", N, 1, 4);
    for (int n = 0; n < N; n++) {
        for (int g = 0; g < K / 32; g++)
            put(w + n, 1, g, 4, (unsigned)d->z[n][g]);
    }
}

static void add_packed(struct file *f, const struct packing *p, const struct drawn *d)
{
    int row = words(K, p->bits), groups = groups_of(p);
    uint32_t *w = add(f, "weight_packed", "I32", N, row, 4);
    int64_t *shape;

    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            put(w + n * row, 1, k, p->bits, (unsigned)d->q[n][k]);
    }
    shape = add(f, "weight_shape", "I64", 1, 2, 8);
    shape[0] = N;
    shape[1] = K;
    if (!p->zeros)
        return;
    w = add(f, "weight_zero_point", "I32", words(N, p->bits), groups, 4);
    for (int n = 0; n < N; n++) {
        for (int g = 0; g < groups; g++)
            put(w + g, (size_t)groups, n, p->bits, (unsigned)d->z[n][g]);
    }
}

static void add_all(struct file *f, const struct packing *p, const struct drawn *d)
{
    int8_t *q;

    add_scales(f, p, d);
    switch (p->way) {
    case GPTQ:
    case AWQ:
        add_along_n(f, p, d);
        break;
    case AWQ_GEMV:
        add_gemv(f, d);
        break;
    case PACKED:
        add_packed(f, p, d);
        break;
    case INT8:
        q = add(f, "weight", "I8", N, K, 1);
        for (int i = 0; i < N * K; i++)
            q[i] = (int8_t)(d->q[i / K][i % K] - 128);
        break;
    }
}

/* The configuration of a fixture, with another packing. */
static void configure(const struct packing *p, struct buf *out)
{
    char *text, *at;
    size_t n;

    assert_int_equal(file_read("tests/data/hf/gptq4/config.json", 1 << 20, &text, &n), OK);
    at = strstr(text, "\"quantization_config\"");
    assert_non_null(at);
    buf_append(out, text, (size_t)(at - text));
    buf_printf(out, "\"quantization_config\":{\"quant_method\":\"%s\",\"bits\":%d,",
               p->way == GPTQ       ? "gptq"
               : p->way <= AWQ_GEMV ? "awq"
                                    : "compressed-tensors",
               p->bits);
    buf_printf(out, "\"group_size\":%d,\"%s\":\"%s\",\"format\":\"mixed-precision\"}}", p->group,
               p->way == GPTQ ? "checkpoint_format" : "version",
               p->way == GPTQ  ? "gptq_v2"
               : p->way == AWQ ? "gemm"
                               : "gemv");
    xfree(text);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void compare(const struct packing *p, const struct drawn *d, const struct ckpt_tensor *t,
                    const uint8_t *made)
{
    size_t row = dtype_row_bytes((enum dtype)t->dtype, K);
    float got[K], global = t->global != 0 ? t->global : 1;

    for (int n = 0; n < N; n++) {
        dtype_decode((enum dtype)t->dtype, made + (size_t)n * row, got, K);
        for (int k = 0; k < K; k++) {
            uint16_t h = d->s[n][k / p->group];
            float s = p->bf16 ? half_bf16(h) : half_f16(h);
            float want = (float)(d->q[n][k] - d->z[n][k / p->group]) * s;

            if (got[k] * global != want)
                fail_msg("packing %d: [%d, %d] is %.9g, expected %.9g", (int)(p - packing), n, k,
                         (double)(got[k] * global), (double)want);
        }
    }
}

/* A directory of two files, in memory. */
struct folder {
    struct file f;
    struct buf config, whole;
    struct checkpoint *c;
};

static enum status open_folder(struct folder *d)
{
    struct ckpt_lent lent[2] = {{"d/config.json", {0}}, {"d/model.safetensors", {0}}};
    uint64_t n;

    buf_putc(&d->f.header, '}');
    n = d->f.header.len;
    buf_append(&d->whole, &n, sizeof n);
    buf_append(&d->whole, d->f.header.data, d->f.header.len);
    buf_append(&d->whole, d->f.data.data, d->f.data.len);
    lent[0].bytes = (struct bytes){d->config.data, d->config.len};
    lent[1].bytes = (struct bytes){d->whole.data, d->whole.len};
    return checkpoint_borrow(lent, 2, &d->c);
}

static void clear_folder(struct folder *d)
{
    if (d->c)
        checkpoint_close(d->c);
    buf_clear(&d->config);
    buf_clear(&d->whole);
    buf_clear(&d->f.header);
    buf_clear(&d->f.data);
}

static void test_packings(void **state)
{
    struct drawn *d = xmalloc(sizeof *d);

    (void)state;
    for (const struct packing *p = packing; p < packing + N_PACKINGS; p++) {
        struct folder at = {0};
        const struct checkpoint *c;
        const struct ckpt_tensor *t;
        uint8_t *made;

        draw_all(p, d);
        add_all(&at.f, p, d);
        configure(p, &at.config);
        assert_int_equal(open_folder(&at), OK);
        c = at.c;
        t = checkpoint_tensor(c, "model.layers.0.self_attn.q_proj.weight");
        assert_non_null(t);
        assert_string_equal(checkpoint_type_name(c, t), p->format);
        made = xmalloc(t->bytes);
        assert_int_equal(c->format->fill(at.c, t, made), OK);
        compare(p, d, t, made);
        xfree(made);
        clear_folder(&at);
    }
    xfree(d);
}

/* Three groups of scales where the configuration speaks of five, which are no groups of the layer's
 * own either, and a g_idx that says nothing. */
static void test_too_few_scales(void **state)
{
    static const struct packing three = {GPTQ, 4, 60, true, false, NULL}, *like = packing;
    struct drawn *d = xmalloc(sizeof *d);
    struct folder at = {0};

    (void)state;
    memset(d, 0, sizeof *d);
    add_all(&at.f, &three, d);
    memset(add(&at.f, "g_idx", "I32", 1, K, 4), 0xff, K * 4);
    configure(like, &at.config);
    assert_int_equal(open_folder(&at), OK);
    assert_null(checkpoint_tensor(at.c, "model.layers.0.self_attn.q_proj.weight"));
    assert_non_null(strstr(at.c->refusal, "cannot share 3 scales"));
    clear_folder(&at);
    xfree(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packings),
                                       cmocka_unit_test(test_too_few_scales)};

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
