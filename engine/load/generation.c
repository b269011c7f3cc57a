/* generation.c - one table: a parameter's name in either format, its bounds, its place. The same
 * ones that vLLM takes from generation_config.json; do_sample is not among them. */
#include "engine/load/generation.h"

#include <math.h>
#include <stddef.h>

#include "kernels/base/log.h"

#define AT(member) offsetof(struct sampling, member)

/* clang-format off */
static const struct row {
    const char *hf, *gguf;
    double least, most; /* above `least`: not it itself */
    bool above, whole;
    size_t at;
} rows[] = {
    {"generation.temperature",        "general.sampling.temp",           0,  100,        false, false, AT(temperature)},
    {"generation.top_p",              "general.sampling.top_p",          0,  1,          true,  false, AT(top_p)},
    {"generation.min_p",              "general.sampling.min_p",          0,  1,          false, false, AT(min_p)},
    {"generation.top_k",              "general.sampling.top_k",          -1, 0x1p31 - 1, false, true,  AT(top_k)},
    {"generation.repetition_penalty", "general.sampling.penalty_repeat", 0,  2,          true,  false, AT(repetition)},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const struct value *find(const struct checkpoint *c, const struct row *r, const char **key)
{
    const struct value *v = checkpoint_key(c, *key = r->hf);

    return v ? v : checkpoint_key(c, *key = r->gguf);
}

static bool is_number(const struct value *v)
{
    return v->kind == VALUE_INT || v->kind == VALUE_FLOAT;
}

static void set(const struct row *r, double x, struct sampling *s)
{
    char *to = (char *)s + r->at;

    if (r->whole)
        *(int *)to = x > 0 ? (int)x : 0;
    else
        *(float *)to = (float)x;
}

static double get(const struct row *r, const struct sampling *s)
{
    const char *from = (const char *)s + r->at;

    return r->whole ? *(const int *)from : (double)*(const float *)from;
}

void generation_read(const struct checkpoint *c, struct generation *out)
{
    const struct value *max = checkpoint_key(c, "generation.max_new_tokens");

    *out = (struct generation){0};
    sampling_default(&out->sampling);
    if (max && max->kind == VALUE_INT && max->integer > 0)
        out->max_tokens = max->integer;
    for (int i = 0; i < N_ROWS; i++) {
        const struct row *r = &rows[i];
        const char *key;
        const struct value *v = find(c, r, &key);
        double x = v && v->kind == VALUE_INT ? (double)v->integer : v ? v->number : 0;

        if (!v)
            continue;
        if (is_number(v) && x >= r->least && x <= r->most && (!r->above || x > r->least) &&
            (!r->whole || x == floor(x)))
            set(r, x, &out->sampling);
        else
            log_warn("%s: %s is not used: it should be a number from %g to %g", c->path, key,
                     r->least, r->most);
    }
}

void generation_write(const struct generation *g, struct gguf_writer *w)
{
    struct sampling neutral;

    sampling_default(&neutral);
    for (int i = 0; i < N_ROWS; i++) {
        double x = get(&rows[i], &g->sampling);

        if (x == get(&rows[i], &neutral))
            continue;
        if (rows[i].whole)
            gguf_put_u32(w, rows[i].gguf, (uint32_t)x);
        else
            gguf_put_f32(w, rows[i].gguf, (float)x);
    }
}
