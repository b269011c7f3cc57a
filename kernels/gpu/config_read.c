/* config_read.c - configs from JSON. Tables name the members; whatever a table does not name is
 * refused: a misspelt name must not hide a choice. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/gpu/config_fields.h"
#include "kernels/gpu/registry.h"

/* Members of the file that is read here alone. */
#define TABLE(t, own)                                                                              \
    (struct table)                                                                                 \
    {                                                                                              \
        t, (int)(sizeof t / sizeof *t), own                                                        \
    }

struct reader {
    struct arena *arena;
    const char *where; /* the member being read */
};

static enum status bad(const struct reader *r, const char *name, const char *what)
{
    return fail(ERR_FORMAT, "%s%s%.64s: %s", r->where, *r->where ? "." : "", name, what);
}

static enum status read_text(struct reader *r, const struct json *v, const char *name,
                             const char **out)
{
    if (!json_is(v, JSON_STRING))
        return bad(r, name, "must be text");
    *out = arena_strndup(r->arena, v->text.p, v->text.n);
    return *out ? OK : bad(r, name, "is too long");
}

static enum status read_field(struct reader *r, const struct field *f, const struct json *v,
                              void *base)
{
    void *to = (char *)base + f->at;
    if (f->type == F_TEXT)
        return read_text(r, v, f->name, to);
    if (f->type == F_FLAG) {
        *(bool *)to = json_is(v, JSON_BOOL) && v->boolean;
        return json_is(v, JSON_BOOL) ? OK : bad(r, f->name, "must be true or false");
    }
    if (!json_is(v, JSON_NUMBER) || !isfinite(v->number))
        return bad(r, f->name, "must be a number");
    if (v->number < f->least || v->number > f->most)
        return bad(r, f->name, "is out of range");
    if (f->type == F_NUMBER)
        *(double *)to = v->number;
    else if (v->number != floor(v->number))
        return bad(r, f->name, "must be a whole number");
    else if (f->type == F_INT)
        *(int *)to = (int)v->number;
    else
        *(int64_t *)to = (int64_t)v->number;
    return OK;
}

/* Is `word` one of the words of `list`? */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ')
        if (strcspn(p, " ") == n && memcmp(p, word, n) == 0)
            return true;
    return false;
}

static enum status read_object(struct reader *r, const struct json *v, struct table t, void *base)
{
    if (!json_is(v, JSON_OBJECT))
        return fail(ERR_FORMAT, "%s: must be an object", r->where);
    for (const struct json *m = v->first; m; m = m->next) {
        int i = 0;
        while (i < t.n && strcmp(t.f[i].name, m->key) != 0)
            i++;
        if (i < t.n)
            TRY(read_field(r, &t.f[i], m, base));
        else if (!listed(t.own, m->key))
            return bad(r, m->key, "is not known");
    }
    for (int i = 0; i < t.n; i++)
        if (t.f[i].required && !json_get(v, t.f[i].name))
            return bad(r, t.f[i].name, "is missing");
    return OK;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (!d)
            return -1;
        v = v * 16 + (int)(d - digits);
    }
    return v;
}

/* "10de:2684" */
static enum status read_pci(const struct json *v, const char *name, uint32_t *out, int *n)
{
    *n = 0;
    if (v && !json_is(v, JSON_ARRAY))
        return fail(ERR_FORMAT, "match.%s: must be a list of ids", name);
    for (const struct json *e = v ? v->first : NULL; e; e = e->next) {
        bool fine = json_is(e, JSON_STRING) && e->text.n == 9 && e->text.p[4] == ':';
        int vendor = fine ? hex4(e->text.p) : -1, device = fine ? hex4(e->text.p + 5) : -1;
        if (vendor < 0 || device < 0 || *n == GPU_PCI_MAX)
            return fail(ERR_FORMAT, "match.%s: at most %d ids such as \"10de:2684\"", name,
                        GPU_PCI_MAX);
        out[(*n)++] = (uint32_t)vendor << 16 | (uint32_t)device;
    }
    return OK;
}

/* "8.9" -> 89 */
static enum status read_cc(const struct json *v, struct gpu_match *m)
{
    if (!json_is(v, JSON_ARRAY))
        return fail(ERR_FORMAT, "match.cc: must be a list such as [\"8.9\"]");
    for (const struct json *e = v->first; e; e = e->next) {
        char *end = NULL;
        double cc = json_is(e, JSON_STRING) ? strtod(e->text.p, &end) : -1;
        if (!end || *end || !(cc >= 1 && cc < 100) || m->n_cc == GPU_CC_MAX)
            return fail(ERR_FORMAT, "match.cc: must be a list such as [\"8.9\"]");
        m->cc[m->n_cc++] = (int)lround(cc * 10);
    }
    return OK;
}

static enum status read_match(struct reader *r, const struct json *v, struct gpu_match *m)
{
    static const struct field fields[] = {
        {"sm", F_INT, offsetof(struct gpu_match, sm), true, 1, 4096},
        {"mig", F_FLAG, offsetof(struct gpu_match, mig), true, 0, 0}};
    const struct json *mem = json_get(v, "mem_gib");
    r->where = "match";
    TRY(read_object(r, v, TABLE(fields, "pci kin cc mem_gib"), m));
    TRY(read_cc(json_get(v, "cc"), m));
    TRY(read_pci(json_get(v, "pci"), "pci", m->pci, &m->n_pci));
    TRY(read_pci(json_get(v, "kin"), "kin", m->kin, &m->n_kin));
    if (!mem)
        return OK;
    for (int i = 0; i < 2; i++) {
        const struct json *e = json_at(mem, i);
        if (!json_is(e, JSON_NUMBER) || mem->count != 2 || !(e->number > 0 && e->number < 1e6))
            return fail(ERR_FORMAT, "match.mem_gib: must be [least, most]");
        m->mem_gib[i] = e->number;
    }
    return m->mem_gib[0] < m->mem_gib[1] ? OK : fail(ERR_FORMAT, "match.mem_gib: is empty");
}

static enum status read_provenance(struct reader *r, const struct json *v, struct gpu_provenance *p)
{
    int kind = gpu_kind_find(json_get(v, "kind"));
    r->where = "provenance";
    if (kind < 0)
        return fail(ERR_FORMAT, "provenance.kind: must be measured, derived or hand");
    *p = (struct gpu_provenance){.kind = (enum gpu_kind)kind,
                                 .date = "",
                                 .how = "",
                                 .parent = "",
                                 .tool = "",
                                 .driver = "",
                                 .raw_sha256 = "",
                                 .kernel_abi = "",
                                 .ceilings = ""};
    return read_object(r, v, gpu_fields(GPU_FIELDS_PROVENANCE), p);
}

static enum status read_eff(struct reader *r, const struct json *v, struct gpu_config *c)
{
    if (!json_is(v, JSON_OBJECT))
        return fail(ERR_FORMAT, "eff: must be an object");
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        r->where = gpu_kernel_name((enum gpu_kernel)i);
        TRY(read_object(r, json_get(v, gpu_kernel_name((enum gpu_kernel)i)),
                        gpu_fields(GPU_FIELDS_EFF), &c->eff[i]));
    }
    return v->count == N_GPU_KERNEL ? OK : fail(ERR_FORMAT, "eff: names an unknown kernel");
}

/* "16": {"skinny_max_m": 192}, "8": {"skinny_max_m": 64, "mma8_max_m": 8192} ..., "pdl": false */
static enum status read_cross(struct reader *r, const struct json *v, struct gpu_config *c)
{
    static const struct field most[] = {{"skinny_max_m", F_INT, 0, true, 1, 1e6}};
    static const struct field both[] = {
        {"skinny_max_m", F_INT, 0, true, 1, 1e6},
        {"mma8_max_m", F_INT,
         offsetof(struct gpu_config, mma8_max_m) - offsetof(struct gpu_config, skinny_max_m), true,
         0, 1e6}};
    static const struct field attn[] = {
        {"chunk_tokens", F_INT, offsetof(struct gpu_config, attn_chunk), true, 64, GPU_CHUNK_MAX},
        {"max_parts", F_INT, offsetof(struct gpu_config, attn_parts), true, 1, GPU_PARTS_MAX}};
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++) {
        r->where = gpu_kernel_name((enum gpu_kernel)i) + strlen("skinny_");
        if (gpu_mma8_kernel((enum gpu_kernel)i) == N_GPU_KERNEL)
            TRY(read_object(r, json_get(v, r->where), TABLE(most, ""), &c->skinny_max_m[i]));
        else
            TRY(read_object(r, json_get(v, r->where), TABLE(both, ""), &c->skinny_max_m[i]));
    }
    r->where = "attn_dec";
    TRY(read_object(r, json_get(v, r->where), TABLE(attn, ""), c));
    const struct json *pdl = json_get(v, "pdl");
    if (pdl && !json_is(pdl, JSON_BOOL))
        return fail(ERR_FORMAT, "cross.pdl: must be true or false");
    c->no_pdl = pdl && !pdl->boolean;
    return v->count == GPU_SKINNY_ANY + 2 + (pdl != NULL)
               ? OK
               : fail(ERR_FORMAT, "cross: names an unknown kernel");
}

static enum status read_raw(const struct json *v, struct gpu_lt *lt)
{
    static const char digits[] = "0123456789abcdef";
    if (!json_is(v, JSON_STRING) || v->text.n != 2 * sizeof lt->raw)
        return fail(ERR_FORMAT, "gemm.lt.raw: must be %zu hexadecimal digits", 2 * sizeof lt->raw);
    for (size_t i = 0; i < v->text.n; i++) {
        const char *d = v->text.p[i] ? strchr(digits, v->text.p[i]) : NULL;
        if (!d)
            return fail(ERR_FORMAT, "gemm.lt.raw: must be hexadecimal digits");
        lt->raw[i / 2] = (uint8_t)(lt->raw[i / 2] << 4 | (d - digits));
    }
    lt->has_raw = true;
    return OK;
}

/* Absent: nothing may be rounded. */
static enum status read_x(const struct json *v, enum x_type *out)
{
    *out = X_EXACT;
    if (!v)
        return OK;
    for (int i = X_EXACT + 1; i < N_X_TYPE && json_is(v, JSON_STRING); i++)
        if (bytes_equal(v->text, x_type_name((enum x_type)i)))
            *out = (enum x_type)i;
    return *out != X_EXACT ? OK : fail(ERR_FORMAT, "gemm.x: is not known");
}

static enum status read_exception(struct reader *r, const struct json *v, struct gpu_exception *x)
{
    const struct json *w = json_get(v, "w"), *p = json_get(v, "p"), *lt = json_get(v, "lt");
    int path = gpu_path_find(json_get(v, "path"));
    int type = json_is(w, JSON_STRING) ? dtype_find(w->text.p) : -1;
    *x = (struct gpu_exception){.lt.id = -1};
    r->where = "gemm";
    TRY(read_object(r, v, gpu_fields(GPU_FIELDS_GEMM), x));
    if (path < 0 || type < 0)
        return fail(ERR_FORMAT, "gemm.%s: is not known", path < 0 ? "path" : "w");
    x->w = (enum dtype)type;
    x->p.path = (enum gpu_path)path;
    TRY(read_x(json_get(v, "x"), &x->x));
    r->where = "gemm.p";
    if (gpu_path_own(x->p.path))
        return lt ? fail(ERR_FORMAT, "gemm.lt: not of path %s", gpu_path_name(x->p.path))
                  : read_object(r, p, gpu_fields(GPU_FIELDS_PARAMS), &x->p);
    x->p.splits = 1;
    r->where = "gemm.lt";
    if (p)
        return fail(ERR_FORMAT, "gemm.p: not of path %s", gpu_path_name(x->p.path));
    if (!lt)
        return OK;
    TRY(read_object(r, lt, gpu_fields(GPU_FIELDS_LT), &x->lt));
    return json_get(lt, "raw") ? read_raw(json_get(lt, "raw"), &x->lt) : OK;
}

enum status gpu_exception_read(struct arena *a, const struct json *v, struct gpu_exception *out)
{
    struct reader r = {a, ""};
    return read_exception(&r, v, out);
}

enum status gpu_attn_read(const struct json *v, struct gpu_attn *out)
{
    struct reader r = {NULL, "attn"};
    *out = (struct gpu_attn){0};
    return read_object(&r, v, gpu_fields(GPU_FIELDS_ATTN), out);
}

/* Files from before there was any have no such list. */
static enum status read_attn(struct reader *r, const struct json *list, struct gpu_config *c)
{
    if (!list)
        return OK;
    if (!json_is(list, JSON_ARRAY) || list->count > GPU_ATTN_MAX)
        return fail(ERR_FORMAT, "attn: must be a list of at most %d", GPU_ATTN_MAX);
    c->attn = arena_calloc(r->arena, ((size_t)list->count + 1) * sizeof *c->attn);
    for (const struct json *e = list->first; e; e = e->next)
        TRY(gpu_attn_read(e, &c->attn[c->n_attn++]));
    return OK;
}

static enum status read_deny(struct reader *r, const struct json *v, struct gpu_deny *d)
{
    static const struct field fields[] = {
        {"what", F_TEXT, offsetof(struct gpu_deny, what), true, 0, 0},
        {"why", F_TEXT, offsetof(struct gpu_deny, why), true, 0, 0}};
    const struct json *range = json_get(v, "lt");
    r->where = "deny";
    TRY(read_object(r, v, TABLE(fields, "lt"), d));
    for (int i = 0; i < 2; i++) {
        int64_t n;
        if (!json_integer(json_at(range, i), &n) || range->count != 2 || n < 0 || n > 1000000000)
            return fail(ERR_FORMAT, "deny.lt: must be [first version, last version]");
        d->lt[i] = (int)n;
    }
    return OK;
}

static enum status read_lists(struct reader *r, const struct json *v, struct gpu_config *c)
{
    const struct json *gemm = json_get(v, "gemm"), *deny = json_get(v, "deny");
    if (!json_is(gemm, JSON_ARRAY) || gemm->count > GPU_EXCEPTIONS_MAX)
        return fail(ERR_FORMAT, "gemm: must be a list of at most %d", GPU_EXCEPTIONS_MAX);
    if (!json_is(deny, JSON_ARRAY) || deny->count > GPU_DENY_MAX)
        return fail(ERR_FORMAT, "deny: must be a list of at most %d", GPU_DENY_MAX);
    c->gemm = arena_calloc(r->arena, ((size_t)gemm->count + 1) * sizeof *c->gemm);
    c->deny = arena_calloc(r->arena, ((size_t)deny->count + 1) * sizeof *c->deny);
    if (!c->gemm || !c->deny)
        return fail(ERR_TOO_LARGE, "gemm and deny are too large");
    for (const struct json *e = gemm->first; e; e = e->next)
        TRY(read_exception(r, e, &c->gemm[c->n_gemm++]));
    for (const struct json *e = deny->first; e; e = e->next)
        TRY(read_deny(r, e, &c->deny[c->n_deny++]));
    return OK;
}

/* The members of one that inferd runs on; a family's `sheet` is for generate.py alone. */
static enum status read_rest(struct reader *r, const struct json *v, struct gpu_config *c)
{
    static const struct field mhz[] = {
        {"mhz", F_INT, offsetof(struct gpu_config, mhz), true, 1, 100000}};
    r->where = "";
    TRY(read_object(
        r, v, TABLE(mhz, "schema id name match provenance sheet ceil eff cross attn gemm deny"),
        c));
    r->where = "ceil";
    TRY(read_object(r, json_get(v, "ceil"), gpu_fields(GPU_FIELDS_CEIL), &c->ceil));
    TRY(read_eff(r, json_get(v, "eff"), c));
    TRY(read_cross(r, json_get(v, "cross"), c));
    TRY(read_attn(r, json_get(v, "attn"), c));
    return read_lists(r, v, c);
}

enum status gpu_config_read(struct arena *a, const char *text, size_t n, struct gpu_config *out)
{
    struct reader r = {a, ""};
    const struct json *v;
    int64_t schema;
    *out = (struct gpu_config){0};
    TRY(json_parse(a, text, n, &v));
    if (!json_is(v, JSON_OBJECT) || !json_integer(json_get(v, "schema"), &schema))
        return fail(ERR_FORMAT, "schema: is missing; this is no GPU configuration");
    if (schema != GPU_SCHEMA)
        return fail(ERR_UNSUPPORTED, "schema %lld, this program reads %d", (long long)schema,
                    GPU_SCHEMA);
    TRY(read_text(&r, json_get(v, "id"), "id", &out->id));
    TRY(read_text(&r, json_get(v, "name"), "name", &out->name));
    TRY(read_match(&r, json_get(v, "match"), &out->match));
    TRY(read_provenance(&r, json_get(v, "provenance"), &out->from));
    r.where = "";
    if (json_get(v, "unsupported"))
        return read_text(&r, json_get(v, "unsupported"), "unsupported", &out->unsupported);
    return read_rest(&r, v, out);
}
