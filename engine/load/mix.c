/* mix.c - the mixes as two tables: names, and rules, of which the first that matches counts. */
#include "engine/load/mix.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

enum role { ROLE_OTHER, ROLE_OUTPUT, ROLE_TABLE, ROLE_V, ROLE_K, ROLE_ATTN_OUT, ROLE_DOWN };

enum when {
    ALWAYS,
    FIRST_4,    /* layers */
    FIRST_16TH, /* of the layers */
    FIRST_8TH,
    PLAIN_8TH,   /* the first eighth, without importance weights */
    WEIGHED_8TH, /* the first eighth, with them */
    SOME,        /* the first and last eighth, and every third between */
    SHARED_4,    /* four query heads or more share a key head */
    EXPERTS_8,   /* eight experts share the attention */
};

/* clang-format off */
static const struct mix mixes[] = {
    {"f32",    DT_F32,    0},  {"f16",    DT_F16,    1},  {"bf16",   DT_BF16,   32}, {"q8_0",   DT_Q8_0,   7},
    {"q4_0",   DT_Q4_0,   2},  {"q4_1",   DT_Q4_1,   3},  {"q5_0",   DT_Q5_0,   8},  {"q5_1",   DT_Q5_1,   9},
    {"q2_k",   DT_Q2_K,   10}, {"q2_k_s", DT_Q2_K,   21}, {"q3_k_s", DT_Q3_K,   11}, {"q3_k_m", DT_Q3_K,   12},
    {"q3_k_l", DT_Q3_K,   13}, {"q4_k_s", DT_Q4_K,   14}, {"q4_k_m", DT_Q4_K,   15}, {"q5_k_s", DT_Q5_K,   16},
    {"q5_k_m", DT_Q5_K,   17}, {"q6_k",   DT_Q6_K,   18}, {"iq4_nl", DT_IQ4_NL, 25}, {"iq4_xs", DT_IQ4_XS, 30},
    {"mxfp4",  DT_MXFP4,  38}, {"nvfp4",  DT_NVFP4,  39},
};
static const struct { const char *name, *means; } also[] = {
    {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"},
};

static const struct rule { const char *mix; enum role role; enum when when; enum dtype type; } rules[] = {
    {NULL,     ROLE_V,        EXPERTS_8,   DT_Q8_0}, /* any mix of block formats */
    {NULL,     ROLE_K,        EXPERTS_8,   DT_Q8_0},
    {"q2_k",   ROLE_V,        SHARED_4,    DT_Q4_K},
    {"q2_k",   ROLE_V,        ALWAYS,      DT_Q3_K},
    {"q2_k",   ROLE_DOWN,     ALWAYS,      DT_Q3_K},
    {"q2_k",   ROLE_ATTN_OUT, ALWAYS,      DT_Q3_K},
    {"q2_k_s", ROLE_V,        SHARED_4,    DT_Q4_K},
    {"q2_k_s", ROLE_DOWN,     FIRST_8TH,   DT_Q4_K},
    {"q3_k_m", ROLE_V,        ALWAYS,      DT_Q5_K}, /* the peer: the first two, then q4_k */
    {"q3_k_m", ROLE_DOWN,     FIRST_16TH,  DT_Q5_K},
    {"q3_k_m", ROLE_DOWN,     ALWAYS,      DT_Q4_K},
    {"q3_k_m", ROLE_ATTN_OUT, ALWAYS,      DT_Q4_K},
    {"q3_k_l", ROLE_V,        ALWAYS,      DT_Q5_K},
    {"q3_k_l", ROLE_DOWN,     ALWAYS,      DT_Q5_K},
    {"q3_k_l", ROLE_ATTN_OUT, ALWAYS,      DT_Q5_K},
    {"q4_k_s", ROLE_V,        FIRST_4,     DT_Q5_K},
    {"q4_k_s", ROLE_DOWN,     FIRST_8TH,   DT_Q5_K},
    {"q4_k_m", ROLE_V,        SOME,        DT_Q6_K},
    {"q4_k_m", ROLE_DOWN,     SOME,        DT_Q6_K},
    {"q5_k_m", ROLE_V,        SOME,        DT_Q6_K},
    {"q5_k_m", ROLE_DOWN,     SOME,        DT_Q6_K},
    {"iq4_nl", ROLE_V,        SHARED_4,    DT_Q5_K},
    {"iq4_nl", ROLE_DOWN,     PLAIN_8TH,   DT_Q5_K},
    {"iq4_xs", ROLE_V,        SHARED_4,    DT_Q5_K},
    {"iq4_xs", ROLE_DOWN,     PLAIN_8TH,   DT_Q5_K},
    {"q4_0",   ROLE_DOWN,     WEIGHED_8TH, DT_Q4_1},
    {"q5_0",   ROLE_DOWN,     WEIGHED_8TH, DT_Q5_1},
    {"mxfp4",  ROLE_OUTPUT,   ALWAYS,      DT_Q8_0},
    {"nvfp4",  ROLE_TABLE,    ALWAYS,      DT_Q8_0}, /* a row that is looked up has no factor */
    {"q8_0",   ROLE_OUTPUT,   ALWAYS,      DT_Q8_0},
    {NULL,     ROLE_OUTPUT,   ALWAYS,      DT_Q6_K},
};

static const struct { const char *name; enum role role; } roles[] = { /* of the name's last words */
    {"output.weight",        ROLE_OUTPUT},   {"token_embd.weight",     ROLE_TABLE},
    {"attn_v.weight",        ROLE_V},        {"attn_qkv.weight",       ROLE_V},
    {"attn_kv_b.weight",     ROLE_V},        {"attn_k.weight",         ROLE_K},
    {"attn_output.weight",   ROLE_ATTN_OUT}, {"ffn_down.weight",       ROLE_DOWN},
    {"ffn_down_exps.weight", ROLE_DOWN},     {"ffn_down_shexp.weight", ROLE_DOWN},
};

/* Tensors of these names stay as they are: small, and worth their bits. */
static const char *const kept[] = {
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel",
    "per_layer_model_proj", "position_embd.weight", "token_types.weight", "ssm_conv1d",
    "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    "time_mix_w0", "time_mix_w1", "time_mix_w2", "time_mix_v0", "time_mix_v1", "time_mix_v2",
    "time_mix_a0", "time_mix_a1", "time_mix_a2", "time_mix_g1", "time_mix_g2",
    "time_mix_decay_w1", "time_mix_decay_w2", "time_mix_lerp_fused", "attn_rel_b.weight",
};

/* What a format of super-blocks becomes where rows are no whole ones. */
static const struct { enum dtype from, to; } smaller[] = {
    {DT_Q2_K, DT_Q4_0}, {DT_Q3_K, DT_Q4_0}, {DT_Q4_K, DT_Q5_0}, {DT_Q5_K, DT_Q5_1}, {DT_Q6_K, DT_Q8_0},
    {DT_IQ4_XS, DT_IQ4_NL}, {DT_NVFP4, DT_MXFP4},
};
/* clang-format on */

const struct mix *mix_find(const char *name)
{
    for (int i = 0; i < COUNT(also); i++)
        name = strcasecmp(also[i].name, name) == 0 ? also[i].means : name;
    for (int i = 0; i < COUNT(mixes); i++) {
        if (strcasecmp(mixes[i].name, name) == 0)
            return &mixes[i];
    }
    return NULL;
}

const char *mix_list(void)
{
    return "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m "
           "q5_k_s q5_k_m q6_k iq4_nl iq4_xs mxfp4 nvfp4";
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

bool mix_takes(const char *name, int ndim)
{
    if (ndim < 2 || !ends_with(name, ".weight"))
        return false;
    for (int i = 0; i < COUNT(kept); i++) {
        if (strstr(name, kept[i]))
            return false;
    }
    return true;
}

static enum role role_of(const char *name, const struct mix_model *model)
{
    for (int i = 0; i < COUNT(roles); i++) {
        bool whole = roles[i].role == ROLE_OUTPUT || roles[i].role == ROLE_TABLE;

        if (whole ? strcmp(name, roles[i].name) != 0 : !ends_with(name, roles[i].name))
            continue;
        return roles[i].role == ROLE_TABLE && model->tied ? ROLE_OUTPUT : roles[i].role;
    }
    return ROLE_OTHER;
}

static bool applies(enum when when, int layer, const struct mix_model *m)
{
    int n = m->n_layer;

    switch (when) {
    case ALWAYS:
        return true;
    case FIRST_4:
        return layer < 4;
    case FIRST_16TH:
        return layer < n / 16;
    case FIRST_8TH:
        return layer < n / 8;
    case PLAIN_8TH:
        return layer < n / 8 && !m->importance;
    case WEIGHED_8TH:
        return layer < n / 8 && m->importance;
    case SOME:
        return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case SHARED_4:
        return m->heads_a_kv_head >= 4;
    case EXPERTS_8:
        return m->n_expert == 8;
    }
    return false;
}

enum dtype mix_type(const struct mix *m, const struct mix_model *model, const char *name)
{
    enum role role = role_of(name, model);
    int layer = 0;

    if (dtype_info(m->base)->block == 1)
        return m->base;
    sscanf(name, "blk.%d.", &layer);
    for (int i = 0; i < COUNT(rules); i++) {
        const struct rule *r = &rules[i];

        if (r->role == role && (!r->mix || strcmp(r->mix, m->name) == 0) &&
            applies(r->when, layer, model))
            return r->type;
    }
    return m->base;
}

enum dtype mix_fit(enum dtype t, int64_t columns)
{
    for (int i = 0; i < COUNT(smaller) && columns % dtype_info(t)->block != 0; i++) {
        if (smaller[i].from == t)
            t = smaller[i].to;
    }
    return columns % dtype_info(t)->block == 0 ? t : DT_F16;
}
