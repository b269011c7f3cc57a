/* made_exl2.c - EXL2: rows of a transposed weight in an order of their own, in groups of 2 to 8
 * bits each.
 *
 *   q_weight [words, N]       codes dense along K, each group in its own width
 *   q_groups [2 G]            bits, and the first row of words, of each group
 *   q_scale [G, N / 8]        4 bits;  q_scale_max [G] f16
 *   q_invperm [K]             where in q_weight each k is
 *   w = (code - 2^(bits - 1)) * f16((q_scale + 1)^2 * f16(q_scale_max / 256))
 *
 * The widths come in falling order, each group whole words of 32 rows (ExLlamaV2's pack_columns).
 * N is padded to a multiple of 32, which only a head with an odd vocabulary notices.
 * Here a group is 32 of K: those of the file are several of them. The widest group decides the
 * format of all. */
#include "engine/load/made.h"

#include <string.h>

#include "engine/load/safetensors.h"
#include "kernels/half.h"

enum {
    PART_SCALE = 1,
    PART_MAX,
    PART_GROUPS,
    PART_INVPERM,
    BLOCK = 32,
    PADDED = 32,
    GROUPS_MOST = 1 << 16
};

static int group_field(const struct checkpoint *c, const struct made *m, int64_t i)
{
    uint16_t v;

    memcpy(&v, made_bytes(c, m->part[PART_GROUPS]) + 2 * i, sizeof v);
    return v;
}

static int64_t group_count(const struct made *m)
{
    return made_count(m->part[PART_MAX]);
}

/* Numbers of K in group g, which begins with the `first`; -1: the fields make no sense. */
static int64_t group_rows(const struct checkpoint *c, const struct made *m, int64_t g,
                          int64_t first)
{
    int64_t bits = group_field(c, m, 2 * g), words;

    if (g + 1 == group_count(m))
        return m->k - first;
    words = group_field(c, m, 2 * g + 3) - group_field(c, m, 2 * g + 1);
    return bits > 0 ? words * 32 / bits : -1;
}

static void rows(const struct checkpoint *c, const struct made *m, int64_t first, int count,
                 struct made_rows *out)
{
    const struct packed scale = {m->part[PART_SCALE], 4, .k_rows = true};
    size_t line = (size_t)m->part[0]->shape[1] * 4;
    int64_t groups = group_count(m);
    float *q = xmalloc((size_t)groups * sizeof *q);

    for (int i = 0; i < count; i++) {
        float *code = out->code + i * m->k, *d = out->scale + i * m->n_groups;
        int64_t n = first + i, at = 0;

        made_codes(c, &scale, n, groups, q);
        for (int64_t g = 0; g < groups; g++) {
            int bits = group_field(c, m, 2 * g);
            int64_t k = group_rows(c, m, g, at);
            uint16_t top = half_to_f16(made_number(c, m->part[PART_MAX], g) / 256);

            made_run(made_bytes(c, m->part[0]) + (size_t)group_field(c, m, 2 * g + 1) * line +
                         4 * (size_t)n,
                     line, bits, k, code + at);
            for (int64_t j = at; j < at + k; j++)
                code[j] -= (float)(1 << (bits - 1));
            for (int64_t b = at / BLOCK; b < (at + k) / BLOCK; b++)
                d[b] = (q[g] + 1) * (q[g] + 1) * half_f16(top) * m->up;
            at += k;
        }
    }
    xfree(q);
}

/* Whole blocks, inside q_weight, all of K; the widest of them. */
static enum status look_groups(const struct checkpoint *c, struct made *m, int *widest)
{
    int64_t at = 0;

    *widest = 0;
    for (int64_t g = 0; g < group_count(m); g++) {
        int bits = group_field(c, m, 2 * g), start = group_field(c, m, 2 * g + 1);
        int64_t k = group_rows(c, m, g, at);

        if (bits < 2 || bits > 8 || k < 1 || k % BLOCK != 0 || k > m->k - at ||
            start + k * bits / 32 > m->part[0]->shape[0])
            return fail(ERR_FORMAT,
                        "tensor %s: group %lld has %d bits and %lld rows from word %d on",
                        m->part[PART_GROUPS]->name, (long long)g, bits, (long long)k, start);
        at += k;
        *widest = bits > *widest ? bits : *widest;
    }
    return at == m->k ? OK
                      : fail(ERR_FORMAT, "tensor %s: its groups have %lld rows of %lld",
                             m->part[PART_GROUPS]->name, (long long)at, (long long)m->k);
}

static enum status look_order(struct checkpoint *c, struct made *m)
{
    const struct ckpt_tensor *t = m->part[PART_INVPERM];
    bool plain = true;

    m->order = arena_alloc(&c->arena, (size_t)m->k * sizeof *m->order);
    if (!m->order)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    memset(m->order, -1, (size_t)m->k * sizeof *m->order);
    for (int64_t k = 0; k < m->k; k++) {
        int64_t at = (int64_t)made_number(c, t, k);

        if (t->type_number == ST_I16)
            at &= 0xffff;
        if (at < 0 || at >= m->k || m->order[at] != -1)
            return fail(ERR_FORMAT, "tensor %s is no permutation of %lld", t->name,
                        (long long)m->k);
        m->order[at] = (int32_t)k;
        plain = plain && at == k;
    }
    if (plain)
        m->order = NULL;
    return OK;
}

/* Rows without those that pad a head: as many as the vocabulary has. */
static int64_t rows_of(const struct checkpoint *c, const struct ckpt_tensor *q)
{
    const struct value *v = checkpoint_key(c, "vocab_size");
    int64_t n = q->ndim == 2 ? q->shape[1] : 0, vocab = v && v->kind == VALUE_INT ? v->integer : 0;
    bool head = strcmp(q->name, "lm_head.q_weight") == 0;

    return head && vocab > n - PADDED && vocab < n ? vocab : n;
}

static enum status look(struct checkpoint *c, struct made *m, struct ckpt_tensor *t)
{
    const struct ckpt_tensor *q = m->part[0], *scale = m->part[PART_SCALE],
                             *max = m->part[PART_MAX];
    const struct ckpt_tensor *groups = m->part[PART_GROUPS], *order = m->part[PART_INVPERM];
    int64_t g = made_count(max);
    int bits;

    m->k = made_count(order);
    m->n = rows_of(c, q);
    if (m->n < 1 || m->k < 1 || m->k % BLOCK != 0 || g < 1 || g > GROUPS_MOST || scale->ndim != 2 ||
        scale->shape[0] != g || scale->shape[1] * 8 != q->shape[1] || made_count(groups) != 2 * g)
        return fail(ERR_FORMAT, "the shapes of its parts do not fit together");
    if (scale->type_number != ST_I32 || max->type_number != ST_F16 ||
        groups->type_number != ST_I16 ||
        (order->type_number != ST_I32 && order->type_number != ST_I16))
        return fail(ERR_FORMAT, "the types of its parts are not those of EXL2");
    TRY(look_groups(c, m, &bits));
    TRY(look_order(c, m));
    m->group = BLOCK;
    m->n_groups = m->k / BLOCK;
    m->scale = max; /* in f16, as the products are */
    t->ndim = 2;
    t->shape[0] = m->n;
    t->shape[1] = m->k;
    made_fit(m, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, t);
    return OK;
}

const struct scheme made_exl2 = {
    .name = "EXL2",
    .part = {".q_weight", ".q_scale", ".q_scale_max", ".q_groups", ".q_invperm", ".q_perm"},
    .needed = 5,
    .type = ST_I32,
    .scale = ST_I32,
    .look = look,
    .rows = rows,
};
