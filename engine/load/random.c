/* random.c - weights of a known shape from a seed, made block by block in the format itself.
 *
 * One pattern of some 64 KiB is drawn for each tensor and repeated: speed and memory traffic depend
 * on sizes, not on values. Quantised blocks are random bits under a scale that gives weights about
 * the spread 1 / sqrt(K) of a trained network, so that activations stay finite in any depth.
 * Everything else goes the way of a real file: keys, tensors by name, binding, packing. */
#include "engine/load/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/load/bind.h"
#include "engine/load/hparams.h"
#include "engine/load/recipe.h"
#include "kernels/base/rng.h"
#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"

enum { MAX_KEYS = 16, MAX_TENSORS = 1024 };
/* Elements or blocks of a pattern: primes, so that no two neighbouring rows are alike. */
enum { PATTERN_PLAIN = 16381, PATTERN_BLOCKS = 1021 };

struct shape {
    const char *name, *architecture;
    int n_layer, n_embd, n_ff, n_head, n_kv_head, head_dim, n_vocab, n_ctx;
    bool tied;
    double rope_base, norm_eps;
};

/* From the config.json of each model. */
/* clang-format off */
static const struct shape shapes[] = {
    /* name          architecture layers embd  ff     heads kv head vocab   context tied   base    eps */
    {"qwen2.5-0.5b", "qwen2",     24,    896,  4864,  14,   2, 64,  151936, 32768,  true,  1e6,    1e-6},
    {"qwen2.5-1.5b", "qwen2",     28,    1536, 8960,  12,   2, 128, 151936, 32768,  true,  1e6,    1e-6},
    {"qwen3-0.6b",   "qwen3",     28,    1024, 3072,  16,   8, 128, 151936, 40960,  true,  1e6,    1e-6},
    {"llama-3.2-1b", "llama",     16,    2048, 8192,  32,   8, 64,  128256, 131072, true,  500000, 1e-5},
    {"llama-3.1-8b", "llama",     32,    4096, 14336, 32,   8, 128, 128256, 131072, false, 500000, 1e-5},
    {"smollm2-135m", "llama",     30,    576,  1536,  9,    3, 64,  49152,  8192,   true,  100000, 1e-5},
    {"tiny",         "llama",     2,     256,  512,   4,    2, 64,  512,    2048,   true,  10000,  1e-5},
    {"mini",         "llama",     2,     64,   128,   2,    1, 64,  256,    2048,   true,  10000,  1e-5},
};

/* How a scale is written: a number of type f16 or f32, an exponent of 2, four E4M3, or an f16 whose
 * nibbles lie on top of four words. */
enum scale { F16, F32, E8M0, FOUR_E4M3, NIBBLES };

/* Where a block has its scales, and the standard deviation of a weight at scale 1 when all other
 * bits are random; the second scale is `ratio` times the first and takes the mean away. */
static const struct { enum dtype t; enum scale how; int scale, second; float ratio, spread; } blocks[] = {
    {DT_Q8_0,    F16,       0,   -1, 0,      73.9f},
    {DT_Q4_0,    F16,       0,   -1, 0,      4.6f},
    {DT_Q4_1,    F16,       0,   2,  -7.5f,  4.6f},
    {DT_Q5_0,    F16,       0,   -1, 0,      9.2f},
    {DT_Q5_1,    F16,       0,   2,  -15.5f, 9.2f},
    {DT_Q8_1,    F16,       0,   -1, 0,      73.9f},
    {DT_Q4_K,    F16,       0,   2,  7.5f,   258},
    {DT_Q5_K,    F16,       0,   2,  15.5f,  527},
    {DT_Q6_K,    F16,       208, -1, 0,      1366},
    {DT_Q2_K,    F16,       80,  82, 1.5f,   13.9f},
    {DT_Q3_K,    F16,       108, -1, 0,      43.5f},
    {DT_Q8_K,    F32,       0,   -1, 0,      73.9f},
    {DT_IQ1_S,   F16,       0,   -1, 0,      7.2f},
    {DT_IQ1_M,   NIBBLES,   48,  -1, 0,      7.2f},
    {DT_IQ2_XXS, F16,       0,   -1, 0,      53.5f},
    {DT_IQ2_XS,  F16,       0,   -1, 0,      55.8f},
    {DT_IQ2_S,   F16,       0,   -1, 0,      56.3f},
    {DT_IQ3_XXS, F16,       0,   -1, 0,      142},
    {DT_IQ3_S,   F16,       0,   -1, 0,      141},
    {DT_IQ4_NL,  F16,       0,   -1, 0,      67.4f},
    {DT_IQ4_XS,  F16,       0,   -1, 0,      1244},
    {DT_TQ1_0,   F16,       52,  -1, 0,      0.82f},
    {DT_TQ2_0,   F16,       64,  -1, 0,      1.22f},
    {DT_Q1_0,    F16,       0,   -1, 0,      1},
    {DT_Q2_0,    F16,       0,   -1, 0,      1.22f},
    {DT_MXFP4,   E8M0,      0,   -1, 0,      5.85f},
    {DT_NVFP4,   FOUR_E4M3, 0,   -1, 0,      2.93f},
    {DT_F8_E4M3, F32,       0,   -1, 0,      118},
    {DT_NF4,     F32,       0,   -1, 0,      0.546f},
};

/* What quantizers use instead where a row is not a multiple of the block, and for the embedding
 * table and the head, which they keep at 6 bits or more. */
static const struct { enum dtype t, short_row, table; } choices[] = {
    {DT_Q4_0, DT_Q4_0, DT_Q6_K},
    {DT_Q4_1, DT_Q4_1, DT_Q6_K},
    {DT_Q5_0, DT_Q5_0, DT_Q6_K},
    {DT_Q5_1, DT_Q5_1, DT_Q6_K},
    {DT_Q4_K, DT_Q5_0, DT_Q6_K},
    {DT_Q5_K, DT_Q5_1, DT_Q6_K},
    {DT_Q6_K, DT_Q8_0, DT_Q6_K},
    {DT_Q2_K, DT_Q4_0, DT_Q6_K},
    {DT_Q3_K, DT_Q4_0, DT_Q6_K},
    {DT_IQ1_S, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ2_XXS, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ2_XS, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ2_S, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ3_XXS, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ3_S, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ4_NL, DT_IQ4_NL, DT_Q6_K},
    {DT_IQ4_XS, DT_IQ4_NL, DT_Q6_K},
    {DT_TQ1_0, DT_Q4_0, DT_Q6_K},
    {DT_TQ2_0, DT_Q4_0, DT_Q6_K},
    {DT_IQ1_M, DT_IQ4_NL, DT_Q6_K},
    {DT_Q1_0, DT_Q4_0, DT_Q6_K},
    {DT_Q2_0, DT_Q4_0, DT_Q6_K},
    {DT_Q8_K, DT_Q8_0, DT_Q8_K},
    {DT_MXFP4, DT_MXFP4, DT_Q8_0},
    {DT_NVFP4, DT_MXFP4, DT_Q8_0},
    {DT_F8_E4M3, DT_BF16, DT_BF16},
    {DT_NF4, DT_BF16, DT_BF16},
};
/* clang-format on */
#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

static enum dtype pick(enum dtype wanted, bool table, int64_t k)
{
    enum dtype t = wanted;

    for (int i = 0; table && i < COUNT(choices); i++) {
        if (choices[i].t == wanted)
            t = choices[i].table;
    }
    for (int i = 0; k % dtype_info(t)->block != 0 && i < COUNT(choices); i++) {
        if (choices[i].t == t) {
            t = choices[i].short_row;
            break;
        }
    }
    return t;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* A key for each tensor, so that they differ: FNV-1a of its name. */
static uint64_t tensor_seed(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    const struct value *seed = checkpoint_key(c, "random.seed");
    uint64_t h = 0xcbf29ce484222325u;

    for (const char *p = t->name; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return (uint64_t)seed->integer * 0x9e3779b97f4a7c15u + h;
}

static void draw_bits(uint64_t seed, unsigned char *out, size_t n)
{
    for (size_t at = 0; at < n; at += sizeof(struct rng_block)) {
        struct rng_block r = rng_philox(seed, at, 0);
        size_t left = n - at;

        memcpy(out + at, &r, left < sizeof r ? left : sizeof r);
    }
}

/* Uniform in +-limit. */
static void draw_plain(uint64_t seed, enum dtype t, float limit, unsigned char *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = (2 * rng_uniform(rng_philox(seed, (uint64_t)i, 0).v[0]) - 1) * limit;
        uint16_t h = t == DT_F16 ? half_to_f16(v) : half_to_bf16(v);

        if (t == DT_F32)
            memcpy(out + i * 4, &v, 4);
        else
            memcpy(out + i * 2, &h, 2);
    }
}

/* E4M3's two codes that are no numbers become their neighbours. */
static void only_numbers(unsigned char *code, int n)
{
    for (int i = 0; i < n; i++)
        code[i] -= (code[i] & 0x7f) == 0x7f;
}

static void put_scale(enum scale how, float v, unsigned char *at)
{
    uint16_t h = half_to_f16(v);

    switch (how) {
    case F16:
        memcpy(at, &h, sizeof h);
        break;
    case F32:
        memcpy(at, &v, sizeof v);
        break;
    case E8M0: /* of the block's integers, which are twice the values */
        *at = (unsigned char)(128 + lrintf(log2f(v)));
        break;
    case FOUR_E4M3:
        memset(at, f8_e4m3_code(v), 4);
        break;
    case NIBBLES:
        for (int i = 0; i < 4; i++, h >>= 4)
            at[2 * i + 1] = (unsigned char)((at[2 * i + 1] & 15) | (h & 15) << 4);
        break;
    }
}

static void draw_blocks(uint64_t seed, enum dtype t, int64_t k, unsigned char *out, int64_t n)
{
    int bytes = dtype_info(t)->bytes, row = 0;

    draw_bits(seed, out, (size_t)(n * bytes));
    while (blocks[row].t != t)
        row++;
    for (int64_t i = 0; i < n; i++, out += bytes) {
        float scale = 1 / (blocks[row].spread * sqrtf((float)k));

        if (t == DT_F8_E4M3)
            only_numbers(out, bytes);
        put_scale(blocks[row].how, scale, out + blocks[row].scale);
        if (blocks[row].second >= 0)
            put_scale(F16, scale * blocks[row].ratio, out + blocks[row].second);
    }
}

static void fill_vector(const struct ckpt_tensor *t, float *out)
{
    float v = strstr(t->name, "norm") ? 1.0f : 0.01f; /* neutral norms, small biases */

    for (int64_t i = 0; i < t->shape[0]; i++)
        out[i] = v;
}

static enum status fill(const struct checkpoint *c, const struct ckpt_tensor *t, void *out)
{
    const struct dtype_info *d = dtype_info((enum dtype)t->dtype);
    size_t pattern = (size_t)(d->block == 1 ? PATTERN_PLAIN : PATTERN_BLOCKS) * (size_t)d->bytes;
    int64_t k = t->shape[t->ndim - 1];
    unsigned char *p = out;

    if (t->ndim == 1) {
        fill_vector(t, out);
        return OK;
    }
    pattern = pattern < t->bytes ? pattern : t->bytes;
    if (d->block == 1)
        draw_plain(tensor_seed(c, t), (enum dtype)t->dtype, sqrtf(3.0f / (float)k), p,
                   (int64_t)pattern / d->bytes);
    else
        draw_blocks(tensor_seed(c, t), (enum dtype)t->dtype, k, p, (int64_t)pattern / d->bytes);
    for (size_t have = pattern; have < t->bytes;) { /* doubles what is there */
        size_t n = have < t->bytes - have ? have : t->bytes - have;

        n = n < (4u << 20) / pattern * pattern ? n : (4u << 20) / pattern * pattern;
        memcpy(p + have, p, n);
        have += n;
    }
    return OK;
}

/* ---- the header ------------------------------------------------------------------------------ */

static bool no_match(struct bytes file)
{
    (void)file;
    return false;
}

static const struct checkpoint_format random_format = {
    .name = "random",
    .names = NAMES_GGUF,
    .match = no_match,
    .fill = fill,
    .repeats = true,
    .type_name = dtype_gguf_name,
};

static void add_key(struct checkpoint *c, const char *architecture, const char *key, double v)
{
    struct ckpt_key *k = &c->key[c->n_keys++];

    k->name = architecture ? arena_printf(&c->arena, "%s.%s", architecture, key)
                           : arena_strndup(&c->arena, key, strlen(key));
    k->value = (struct value){
        .kind = v == floor(v) ? VALUE_INT : VALUE_FLOAT, .integer = (int64_t)v, .number = v};
}

static void add_keys(struct checkpoint *c, const struct shape *s, uint64_t seed)
{
    const char *a = s->architecture;
    struct ckpt_key *name;

    c->key = arena_calloc(&c->arena, MAX_KEYS * sizeof *c->key);
    add_key(c, NULL, "random.seed", (double)(seed & 0xffffffffffff)); /* 48 bits: exact */
    add_key(c, a, "block_count", s->n_layer);
    add_key(c, a, "embedding_length", s->n_embd);
    add_key(c, a, "feed_forward_length", s->n_ff);
    add_key(c, a, "attention.head_count", s->n_head);
    add_key(c, a, "attention.head_count_kv", s->n_kv_head);
    add_key(c, a, "attention.key_length", s->head_dim);
    add_key(c, a, "vocab_size", s->n_vocab);
    add_key(c, a, "context_length", s->n_ctx);
    add_key(c, a, "rope.freq_base", s->rope_base);
    add_key(c, a, "attention.layer_norm_rms_epsilon", s->norm_eps);
    name = &c->key[c->n_keys++];
    *name = (struct ckpt_key){"general.architecture", {.kind = VALUE_STRING, .text = bytes_of(a)}};
}

static void add_tensor(struct checkpoint *c, const struct weight_row *row, int l, enum dtype format,
                       const struct hparams *hp)
{
    struct ckpt_tensor *t = &c->tensor[c->n_tensors++];
    bool vector = row->dim[1] == DIM_NONE;
    char name[256];

    bind_name(c, row, l, name, sizeof name);
    t->name = arena_strndup(&c->arena, name, strlen(name));
    t->made = row;
    t->ndim = vector ? 1 : 2;
    t->shape[0] = bind_dim(hp, row->dim[0]);
    t->shape[1] = vector ? 0 : bind_dim(hp, row->dim[1]);
    t->dtype = vector ? DT_F32 : pick(format, !row->layer, t->shape[1]);
    t->type_number = (uint32_t)dtype_info((enum dtype)t->dtype)->gguf;
    t->bytes = vector ? (size_t)t->shape[0] * sizeof(float)
                      : dtype_row_bytes((enum dtype)t->dtype, t->shape[1]) * (size_t)t->shape[0];
}

static bool has_row(const struct recipe *r, const struct shape *s, const struct weight_row *row)
{
    if (row->tied)
        return !s->tied;
    for (int i = 0; i < 4 && r->needs[i]; i++) {
        if (strcmp(r->needs[i], row->gguf) == 0)
            return true;
    }
    return !row->optional;
}

static enum status add_tensors(struct checkpoint *c, const struct shape *s, enum dtype format)
{
    const struct recipe *r = recipe_find(s->architecture);
    struct hparams hp;

    TRY(hparams_read(c, s->architecture, r->arch->hparams, &hp));
    c->tensor = arena_calloc(&c->arena, MAX_TENSORS * sizeof *c->tensor);
    for (const struct weight_row *row = r->arch->weights; row->gguf; row++) {
        for (int l = 0; l < (row->layer ? hp.n_layer : 1) && has_row(r, s, row); l++)
            add_tensor(c, row, l, format, &hp);
    }
    return OK;
}

static enum status find_format(const char *name, enum dtype *out)
{
    int t = dtype_find(name);
    bool known = t == DT_F32 || t == DT_F16 || t == DT_BF16;

    struct buf list = {0};
    enum status s = OK;

    for (int i = 0; i < COUNT(blocks); i++) {
        known = known || (int)blocks[i].t == t;
        buf_printf(&list, " %s", dtype_info(blocks[i].t)->name);
    }
    *out = known ? (enum dtype)t : DT_F32;
    if (!known)
        s = fail_field(ERR_UNSUPPORTED, "format",
                       "no random weights in \"%s\" (formats: f32 f16 bf16%s)", name, list.data);
    buf_clear(&list);
    return s;
}

static enum status find_shape(const char *name, const struct shape **out)
{
    struct buf list = {0};
    enum status s;

    for (int i = 0; i < COUNT(shapes); i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *out = &shapes[i];
            buf_clear(&list);
            return OK;
        }
        buf_printf(&list, " %s", shapes[i].name);
    }
    s = fail_field(ERR_UNSUPPORTED, "random", "no model shape \"%s\" (shapes:%s)", name, list.data);
    buf_clear(&list);
    return s;
}

enum status random_open(const struct random_model *r, struct checkpoint **out)
{
    const struct shape *shape = NULL;
    enum dtype format = DT_F32;
    struct checkpoint *c;
    char name[96];
    enum status s;

    TRY(find_shape(r->shape ? r->shape : "", &shape));
    TRY(find_format(r->format ? r->format : "q8_0", &format));
    c = xcalloc(1, sizeof *c);
    arena_init(&c->arena, 0);
    snprintf(name, sizeof name, "%s-%s-random", shape->name, dtype_info(format)->name);
    c->path = xstrdup(name);
    c->format = &random_format;
    add_keys(c, shape, r->seed);
    s = checkpoint_index(c);
    if (s == OK)
        s = add_tensors(c, shape, format);
    if (s == OK)
        s = checkpoint_index(c);
    *out = c;
    if (s != OK) {
        checkpoint_close(c);
        *out = NULL;
    }
    return s;
}
