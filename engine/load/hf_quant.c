/* hf_quant.c - recognises packed weights by the names and types of their tensors.
 *
 * Names decide and not the configuration: a checkpoint may mix packings, and its lists of what was
 * left alone are written in several languages (regular expressions, prefixes, classes). From the
 * configuration come only numbers that no tensor tells (bits, versions, sizes of blocks). */
#include "engine/load/hf_quant.h"

#include <string.h>

#include "engine/load/made.h"

/* Numbers about activations and caches, and about layouts that we do not take over. */
static const char *const ignored[] = {
    ".input_scale",      ".input_scale_ub", ".input_zero_point",  ".input_global_scale",
    ".activation_scale", ".output_scale",   ".k_scale",           ".v_scale",
    ".kv_scale",         ".q_scale",        ".prob_output_scale",
};
enum { N_IGNORED = sizeof ignored / sizeof ignored[0], MAX_NAME = 1100 };

struct work {
    struct checkpoint *c;
    struct ckpt_tensor *out;
    int n;
    bool *used; /* [n_tensors] */
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n > e && strcmp(s + n - e, end) == 0;
}

static const struct ckpt_tensor *beside(const struct checkpoint *c, const char *name, size_t base,
                                        const char *suffix)
{
    char other[MAX_NAME];

    if (base + strlen(suffix) + 1 > sizeof other)
        return NULL;
    memcpy(other, name, base);
    memcpy(other + base, suffix, strlen(suffix) + 1);
    return checkpoint_tensor(c, other);
}

static bool method_is(const struct checkpoint *c, const char *wanted)
{
    const struct value *v = checkpoint_key(c, "quantization_config.quant_method");

    return v && v->kind == VALUE_STRING && bytes_equal(v->text, wanted);
}

/* The parts of a weight of this packing whose first is `t`; false: it is another. */
static bool parts_of(const struct checkpoint *c, const struct scheme *s,
                     const struct ckpt_tensor *t, const struct ckpt_tensor **part)
{
    size_t base = strlen(t->name) - (ends_with(t->name, s->part[0]) ? strlen(s->part[0]) : 0);

    if (!t->name[base] || t->type_number != (uint32_t)s->type ||
        (s->method && !method_is(c, s->method)))
        return false;
    for (int i = 0; i < MADE_PARTS && s->part[i]; i++) {
        part[i] = beside(c, t->name, base, s->part[i]);
        if (!part[i] && i < s->needed)
            return false;
    }
    return s->scale < 0 || part[1]->type_number == (uint32_t)s->scale;
}

static const struct scheme *find(const struct checkpoint *c, const struct ckpt_tensor *t,
                                 const struct ckpt_tensor **part)
{
    const struct scheme *const *all[] = {made_ints, made_floats};

    for (int i = 0; i < 2; i++) {
        for (const struct scheme *const *s = all[i]; *s; s++) {
            memset(part, 0, MADE_PARTS * sizeof *part);
            if (parts_of(c, *s, t, part))
                return *s;
        }
    }
    return NULL;
}

static void refuse(struct checkpoint *c, const struct ckpt_tensor *t)
{
    if (!c->refusal)
        c->refusal = arena_printf(&c->arena, "tensor %s: %s", t->name, fail_text());
}

static enum status too_large(void)
{
    return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

/* The weight that `t` and its companions are, as one tensor. */
static enum status make(struct work *w, const struct scheme *s, const struct ckpt_tensor *t,
                        const struct ckpt_tensor **part)
{
    struct checkpoint *c = w->c;
    struct made *m = arena_calloc(&c->arena, sizeof *m);
    size_t base = strlen(t->name) - strlen(s->part[0]);
    struct ckpt_tensor made = *t;
    enum status status;

    if (!m)
        return too_large();
    *m = (struct made){.scheme = s, .scale_n = 1, .scale_by = 1, .up = 1};
    memcpy(m->part, part, sizeof m->part);
    made.name = arena_printf(&c->arena, "%.*s%s", (int)base, t->name, s->bare ? "" : ".weight");
    if (!made.name)
        return too_large();
    made.made = m;
    made.dtype = -1;
    status = s->look(c, m, &made);
    if (status == OK && (m->n < 1 || m->k < 1 || m->n > INT32_MAX || m->k > INT32_MAX))
        status = fail(ERR_FORMAT, "the weight is empty");
    if (status != OK) {
        refuse(c, t);
        return OK;
    }
    made.bytes = dtype_row_bytes((enum dtype)made.dtype, m->k) * (size_t)m->n;
    for (int i = 0; i < MADE_PARTS; i++) {
        if (part[i])
            w->used[part[i] - c->tensor] = true;
    }
    w->out[w->n++] = made;
    return OK;
}

static bool is_ignored(const char *name)
{
    for (int i = 0; i < N_IGNORED; i++) {
        if (ends_with(name, ignored[i]))
            return true;
    }
    return false;
}

static enum status make_all(struct work *w)
{
    const struct ckpt_tensor *part[MADE_PARTS];
    struct checkpoint *c = w->c;

    for (int i = 0; i < c->n_tensors; i++) {
        const struct scheme *s = find(c, &c->tensor[i], part);

        if (s)
            TRY(make(w, s, &c->tensor[i], part));
    }
    for (int i = 0; i < c->n_tensors; i++) {
        if (!w->used[i] && !is_ignored(c->tensor[i].name))
            w->out[w->n++] = c->tensor[i];
    }
    return OK;
}

enum status hf_quant(struct checkpoint *c)
{
    struct work w = {.c = c};
    enum status s;

    w.out = arena_alloc(&c->arena, (size_t)(2 * c->n_tensors + 1) * sizeof *w.out);
    if (!w.out)
        return too_large();
    w.used = xcalloc((size_t)c->n_tensors + 1, sizeof *w.used);
    s = make_all(&w);
    xfree(w.used);
    TRY(s);
    c->tensor = w.out;
    c->n_tensors = w.n;
    return OK;
}

const char *hf_quant_packing(const struct ckpt_tensor *t)
{
    const struct made *m = t->made;

    return m ? m->scheme->name : NULL;
}
