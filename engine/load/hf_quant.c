/* hf_quant.c - recognises packed weights by the names and types of their tensors.
 *
 * Names decide and not the configuration: a checkpoint may mix packings, and its lists of what was
 * left alone are written in several languages (regular expressions, prefixes, classes). From the
 * configuration come only numbers that no tensor tells (bits, versions, sizes of blocks), and
 * which library wrote it: of one that is not known here nothing is guessed. */
#include "engine/load/hf_quant.h"

#include <stdio.h>
#include <string.h>

#include "engine/load/hf_x.h"
#include "engine/load/made.h"

/* Numbers about activations and caches, and about layouts that we do not take over. */
static const char *const ignored[] = {
    ".input_scale",      ".input_scale_ub", ".input_zero_point",  ".input_global_scale",
    ".activation_scale", ".output_scale",   ".k_scale",           ".v_scale",
    ".kv_scale",         ".q_scale",        ".prob_output_scale",
};
enum { N_IGNORED = sizeof ignored / sizeof ignored[0], MAX_NAME = 1100 };

/* quant_method of config.json: what is read. `packing` is a scheme's `method`; AutoRound's is said
 * by its packing_format. */
/* clang-format off */
static const struct { const char *said, *packing; } methods[] = {
    {"gptq", "gptq"}, {"marlin", "gptq"}, {"awq", "awq"}, {"auto-round", NULL}, {"intel/auto-round", NULL},
    {"compressed-tensors", ""}, {"fp8", ""}, {"fbgemm_fp8", ""}, {"mxfp4", ""}, {"mxfp8", ""},
    {"modelopt", ""}, {"modelopt_fp4", ""}, {"bitsandbytes", ""}, {"exl2", ""},
};
/* clang-format on */
enum { N_METHODS = sizeof methods / sizeof methods[0] };

struct work {
    const char *packing; /* what its configuration says, as above; "": nothing */
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

/* The parts of a weight of this packing whose first is `t`; false: it is another. */
static bool parts_of(const struct work *w, const struct scheme *s, const struct ckpt_tensor *t,
                     const struct ckpt_tensor **part)
{
    const struct checkpoint *c = w->c;
    size_t base = strlen(t->name) - (ends_with(t->name, s->part[0]) ? strlen(s->part[0]) : 0);

    if (!t->name[base] || t->type_number != (uint32_t)s->type ||
        (s->method && strcmp(s->method, w->packing) != 0))
        return false;
    for (int i = 0; i < MADE_PARTS && s->part[i]; i++) {
        part[i] = beside(c, t->name, base, s->part[i]);
        if (!part[i] && i < s->needed)
            return false;
    }
    return s->scale < 0 || part[1]->type_number == (uint32_t)s->scale;
}

static const struct scheme *find(const struct work *w, const struct ckpt_tensor *t,
                                 const struct ckpt_tensor **part)
{
    const struct scheme *const *all[] = {made_ints, made_ordered, made_floats};

    for (int i = 0; i < 3; i++) {
        for (const struct scheme *const *s = all[i]; *s; s++) {
            memset(part, 0, MADE_PARTS * sizeof *part);
            if (parts_of(w, *s, t, part))
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

/* What cannot stay in blocks becomes f16. Of a table rows are looked up, not multiplied: nothing
 * can follow with a factor for all. */
static enum status settle(struct made *m, struct ckpt_tensor *t)
{
    bool table = strstr(t->name, "embed_tokens.") != NULL;
    float global = t->global != 0 ? t->global : 1, up = table ? 1 : 256; /* into f16's range */

    for (int i = 0; i < MADE_PARTS && m->scheme->part[i]; i++) {
        if (m->part[i] && strcmp(m->scheme->part[i], ".pre_quant_scale") == 0)
            m->before = m->part[i];
    }
    if (m->before && (!made_is_float(m->before) || made_count(m->before) != m->k || t->order))
        return fail(ERR_FORMAT, "tensor %s: expected %lld numbers", m->before->name,
                    (long long)m->k);
    if (!m->before && (!table || t->global == 0 || t->order))
        return OK;
    if (!m->scheme->rows)
        return fail(ERR_UNSUPPORTED, "%s cannot be used so", m->scheme->name);
    m->up *= global * up;
    t->global = table ? 0 : 1 / up;
    t->dtype = DT_F16;
    return OK;
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
    if (status == OK)
        status = settle(m, &made);
    if (status == OK && made.dtype == DT_F8_E4M3)
        status = hf_x_declared(c, t->name, base, &made);
    if (status == OK && x_type_of((enum dtype)made.dtype) == X_FP4)
        made.x = hf_x_declared_fp4(c);
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

/* ---- what the configuration says ------------------------------------------------------------- */

static enum status unknown_method(const char *said)
{
    char known[256];
    size_t n = 0;

    for (int i = 0; i < N_METHODS; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, " %s", methods[i].said);
    return fail(ERR_UNSUPPORTED, "quant_method \"%s\" is not supported (supported:%s)", said,
                known);
}

static enum status auto_round(const struct checkpoint *c, const char **packing)
{
    char format[64];

    made_auto_round(c, format, sizeof format);
    *packing = strstr(format, "awq") ? "awq" : "gptq";
    return strcmp(format, "mlx") == 0 || strstr(format, "fake") || strstr(format, "nvfp4_e5m3")
               ? fail(ERR_UNSUPPORTED, "AutoRound's packing_format \"%s\" is not supported", format)
               : OK;
}

/* Things that change what the weights mean, and would go unnoticed. */
static enum status look_extras(const struct checkpoint *c)
{
    static const char transform[] = "quantization_config.transform_config.config_groups.";
    char format[64];

    made_config_text(c, "quantization_config.format", format, sizeof format);
    if (strstr(format, "24") || strstr(format, "sparse"))
        return fail(ERR_UNSUPPORTED, "format \"%s\" (sparse weights) is not supported", format);
    made_config_text(c, "quantization_config.sparsity_config.format", format, sizeof format);
    if (*format && strcmp(format, "dense") != 0)
        return fail(ERR_UNSUPPORTED, "sparsity_config.format \"%s\" is not supported", format);
    for (int i = 0; i < c->n_keys; i++) {
        if (strncmp(c->key[i].name, transform, sizeof transform - 1) == 0)
            return fail(ERR_UNSUPPORTED, "transform_config (rotated activations) is not supported");
    }
    return OK;
}

static enum status look_method(struct work *w)
{
    const struct checkpoint *c = w->c;
    char said[64];
    int i = 0;

    w->packing = "";
    made_config_text(c, "quantization_config.quant_method", said, sizeof said);
    if (!*said)
        return look_extras(c);
    while (i < N_METHODS && strcmp(said, methods[i].said) != 0)
        i++;
    if (i == N_METHODS)
        return unknown_method(said);
    w->packing = methods[i].packing;
    if (!w->packing)
        TRY(auto_round(c, &w->packing));
    return look_extras(c);
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
        const struct scheme *s = find(w, &c->tensor[i], part);

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

    if (look_method(&w) != OK) {
        c->refusal = arena_printf(&c->arena, "%s", fail_text());
        return c->refusal ? OK : too_large();
    }
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
