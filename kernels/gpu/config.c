/* config.c - configs from JSON and back. Tables name the members; whatever a table does not name is
 * refused. */
#include "kernels/gpu/config.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/gpu/registry.h"

static const char *const kinds[N_GPU_KIND] = {"derived", "hand", "measured"};
static const char *const paths[N_GPU_PATH] = {"skinny", "lt",   "dequant_lt",
                                              "plain",  "mma8", "w8a8"};
#define GPU_KERNEL_NAME(id, name) name,
static const char *const kernels[N_GPU_KERNEL] = {GPU_KERNELS(GPU_KERNEL_NAME)};
#undef GPU_KERNEL_NAME

const char *gpu_kind_name(enum gpu_kind k)
{
    return kinds[k];
}

const char *gpu_path_name(enum gpu_path p)
{
    return paths[p];
}

const char *gpu_kernel_name(enum gpu_kernel k)
{
    return kernels[k];
}

bool gpu_lt_same(const struct gpu_lt *a, const struct gpu_lt *b)
{
    return a->id == b->id && a->tile == b->tile && a->stages == b->stages &&
           a->splitk == b->splitk && a->reduction == b->reduction && a->swizzle == b->swizzle &&
           a->custom == b->custom && a->inner == b->inner && a->cluster == b->cluster;
}

const char *gpu_config_title(struct arena *a, const struct gpu_config *c)
{
    const struct gpu_provenance *p = &c->from;
    if (p->kind == GPU_DERIVED)
        return arena_printf(a, "%s (derived from %s)", c->id, p->parent);
    if (p->kind == GPU_MEASURED)
        return arena_printf(a, "%s (measured %s)", c->id, p->date);
    return arena_printf(a, "%s (by hand, %s)", c->id, p->date);
}

struct gpu_choices gpu_choices_of(const struct gpu_config *c)
{
    struct gpu_choices n = {.gemm = c->n_gemm, .attn = c->n_attn};
    for (int i = 0; i < c->n_gemm; i++)
        n.algorithms += !gpu_path_tiled(c->gemm[i].p.path) && c->gemm[i].lt.id >= 0;
    return n;
}

/* ---- reading --------------------------------------------------------------------------------- */

enum field_type { F_TEXT, F_INT, F_INT64, F_NUMBER, F_FLAG };
struct field {
    const char *name;
    enum field_type type;
    size_t at;
    bool required;
    double least, most; /* of numbers */
};

#define P(field) offsetof(struct gpu_provenance, field)
#define C(field) offsetof(struct gpu_ceil, field)
#define E(field) offsetof(struct gpu_eff, field)
#define G(field) offsetof(struct gpu_params, field)
#define X(field) offsetof(struct gpu_exception, field)
#define L(field) offsetof(struct gpu_lt, field)
#define T(field) offsetof(struct gpu_attn, field)
#define RATE     0, 1e7
#define COUNT    0, 1e9

/* clang-format off */
static const struct field provenance_fields[] = {
    {"date",       F_TEXT,   P(date),       false, 0, 0},   {"how",        F_TEXT,   P(how),        false, 0, 0},
    {"parent",     F_TEXT,   P(parent),     false, 0, 0},   {"tool",       F_TEXT,   P(tool),       false, 0, 0},
    {"driver",     F_TEXT,   P(driver),     false, 0, 0},   {"raw_sha256", F_TEXT,   P(raw_sha256), false, 0, 0},
    {"kernel_abi", F_TEXT,   P(kernel_abi), false, 0, 0},   {"model",      F_INT,    P(model),      false, COUNT},
    {"cuda",       F_INT,    P(cuda),       false, COUNT},  {"cublaslt",   F_INT,    P(cublaslt),   false, COUNT},
    {"gain",       F_NUMBER, P(gain),       false, COUNT},  {"worst",      F_NUMBER, P(worst),      false, COUNT},
    {"entries",    F_INT,    P(entries),    false, COUNT},  {"power_w",    F_INT,    P(power_w),    false, COUNT},
    {"sm_mhz",     F_INT,    P(sm_mhz),     false, COUNT},  {"ceilings",   F_TEXT,   P(ceilings),   false, 0, 0},
};
static const struct field ceil_fields[] = {
    {"copy_gbs",        F_NUMBER, C(copy_gbs),        true, RATE}, {"read_gbs",      F_NUMBER, C(read_gbs),      true, RATE},
    {"l2_gbs",          F_NUMBER, C(l2_gbs),          true, RATE}, {"bf16_tflops",   F_NUMBER, C(bf16_tflops),   true, RATE},
    {"fp8_tflops",      F_NUMBER, C(fp8_tflops),      true, RATE}, {"int8_tops",     F_NUMBER, C(int8_tops),     true, RATE},
    {"fp4_tflops",      F_NUMBER, C(fp4_tflops),      true, RATE}, {"mma_bf16_tflops", F_NUMBER, C(mma_bf16_tflops), true, RATE},
    {"mma_int8_tops",   F_NUMBER, C(mma_int8_tops),   true, RATE}, {"latency_us",    F_NUMBER, C(latency_us),    true, 0, 1e4},
    {"graph_gap_us",    F_NUMBER, C(graph_gap_us),    true, 0, 1e4}, {"launch_gap_us", F_NUMBER, C(launch_gap_us), false, 0, 1e4},
    {"pdl_gap_us",      F_NUMBER, C(pdl_gap_us),      false, 0, 1e4},
};
static const struct field eff_fields[] = {
    {"bw",    F_NUMBER, E(bw),    true, 0, 1.5},  {"fl",        F_NUMBER, E(fl),        true, 0, 1.5},
    {"t0_us", F_NUMBER, E(t0_us), true, 0, 1e4},  {"splitk_us", F_NUMBER, E(splitk_us), true, 0, 1e4},
};
static const struct field params_fields[] = {
    {"nt",     F_INT, G(nt),     true, COUNT}, {"r",      F_INT, G(r),      true, COUNT},
    {"stages", F_INT, G(stages), true, COUNT}, {"splits", F_INT, G(splits), true, COUNT},
};
static const struct field gemm_fields[] = {
    {"n",  F_INT64,  X(n),  true, 1, 1e9}, {"k",       F_INT64,  X(k),       true, 1, 1e9},
    {"m",  F_INT,    X(m),  true, 1, 1e9}, {"us",      F_NUMBER, X(us),      true, COUNT},
    {"base_us", F_NUMBER, X(base_us), true, COUNT}, {"ci_pct",  F_NUMBER, X(ci_pct),  true, 0, 100},
};
static const struct field attn_fields[] = {
    {"d",            F_INT, T(head_dim),  true, 1, 1024},          {"group",     F_INT, T(group),     true, 1, 1024},
    {"chunk_tokens", F_INT, T(cut.chunk), true, 64, GPU_CHUNK_MAX}, {"max_parts", F_INT, T(cut.parts), true, 1, GPU_PARTS_MAX},
    {"us",      F_NUMBER, T(us),      true, COUNT},                {"base_us", F_NUMBER, T(base_us), true, COUNT},
    {"ci_pct",  F_NUMBER, T(ci_pct),  true, 0, 100},
};
static const struct field lt_fields[] = {
    {"ver",       F_INT,   L(ver),       true, COUNT}, {"id",     F_INT, L(id),     true, -1, 1e9},
    {"tile",      F_INT,   L(tile),      true, COUNT}, {"stages", F_INT, L(stages), true, COUNT},
    {"splitk",    F_INT,   L(splitk),    true, COUNT}, {"red",    F_INT, L(reduction), true, COUNT},
    {"swz",       F_INT,   L(swizzle),   true, COUNT}, {"custom", F_INT, L(custom), true, COUNT},
    {"inner",     F_INT,   L(inner),     true, COUNT}, {"cluster", F_INT, L(cluster), true, COUNT},
    {"ws",        F_INT64, L(workspace), true, 0, 1e12},
};
/* clang-format on */
#undef P
#undef C
#undef E
#undef G
#undef X
#undef L
#undef T
/* Members by a table, and those that the caller reads itself, as "kind pci". */
struct table {
    const struct field *f;
    int n;
    const char *own;
};
#define TABLE(t, own)                                                                              \
    (struct table)                                                                                 \
    {                                                                                              \
        t, (int)(sizeof t / sizeof *t), own                                                        \
    }

const char *gpu_ceil_merge(struct arena *a, const struct gpu_ceil *measured, struct gpu_ceil *c)
{
    const char *names = "";
    for (size_t i = 0; i < sizeof ceil_fields / sizeof *ceil_fields; i++) {
        const struct field *f = &ceil_fields[i];
        double v = *(const double *)((const char *)measured + f->at);
        if (v <= 0)
            continue;
        *(double *)((char *)c + f->at) = v;
        names = arena_printf(a, "%s%s%s", names, *names ? " " : "", f->name);
    }
    return names;
}

bool gpu_ceil_row(int i, const char **name, size_t *at)
{
    if (i < 0 || (size_t)i >= sizeof ceil_fields / sizeof *ceil_fields)
        return false;
    *name = ceil_fields[i].name;
    *at = ceil_fields[i].at;
    return true;
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

static int find(const char *const *names, int n, const struct json *v)
{
    for (int i = 0; i < n; i++)
        if (json_is(v, JSON_STRING) && bytes_equal(v->text, names[i]))
            return i;
    return -1;
}

static enum status read_provenance(struct reader *r, const struct json *v, struct gpu_provenance *p)
{
    int kind = find(kinds, N_GPU_KIND, json_get(v, "kind"));
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
    return read_object(r, v, TABLE(provenance_fields, "kind"), p);
}

static enum status read_eff(struct reader *r, const struct json *v, struct gpu_config *c)
{
    if (!json_is(v, JSON_OBJECT))
        return fail(ERR_FORMAT, "eff: must be an object");
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        r->where = kernels[i];
        TRY(read_object(r, json_get(v, kernels[i]), TABLE(eff_fields, ""), &c->eff[i]));
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
        r->where = kernels[i] + strlen("skinny_");
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

static enum status read_exception(struct reader *r, const struct json *v, struct gpu_exception *x)
{
    const struct json *w = json_get(v, "w"), *p = json_get(v, "p"), *lt = json_get(v, "lt");
    int path = find(paths, N_GPU_PATH, json_get(v, "path"));
    int type = json_is(w, JSON_STRING) ? dtype_find(w->text.p) : -1;
    *x = (struct gpu_exception){.lt.id = -1};
    r->where = "gemm";
    TRY(read_object(r, v, TABLE(gemm_fields, "w path p lt"), x));
    if (path < 0 || type < 0)
        return fail(ERR_FORMAT, "gemm.%s: is not known", path < 0 ? "path" : "w");
    x->w = (enum dtype)type;
    x->p.path = (enum gpu_path)path;
    r->where = "gemm.p";
    if (gpu_path_tiled(x->p.path))
        return lt ? fail(ERR_FORMAT, "gemm.lt: not of path %s", paths[path])
                  : read_object(r, p, TABLE(params_fields, ""), &x->p);
    x->p.splits = 1;
    r->where = "gemm.lt";
    if (p)
        return fail(ERR_FORMAT, "gemm.p: not of path %s", paths[path]);
    if (!lt)
        return OK;
    TRY(read_object(r, lt, TABLE(lt_fields, "raw"), &x->lt));
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
    return read_object(&r, v, TABLE(attn_fields, ""), out);
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
    TRY(read_object(r, json_get(v, "ceil"), TABLE(ceil_fields, ""), &c->ceil));
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

/* ---- writing --------------------------------------------------------------------------------- */

static void put_field(struct buf *out, const struct field *f, const void *base)
{
    const void *at = (const char *)base + f->at;
    if (f->type == F_TEXT)
        json_write_string(out, *(const char *const *)at, strlen(*(const char *const *)at));
    else if (f->type == F_NUMBER)
        json_write_number(out, *(const double *)at);
    else if (f->type == F_FLAG)
        buf_puts(out, *(const bool *)at ? "true" : "false");
    else
        buf_printf(out, "%lld",
                   f->type == F_INT ? (long long)*(const int *)at
                                    : (long long)*(const int64_t *)at);
}

/* Optional members that say nothing are left out. */
static bool says_nothing(const struct field *f, const void *base)
{
    const void *at = (const char *)base + f->at;
    if (f->required)
        return false;
    if (f->type == F_TEXT)
        return !**(const char *const *)at;
    return f->type == F_NUMBER ? *(const double *)at == 0 : *(const int *)at == 0;
}

static void put_members(struct buf *out, struct table t, const void *base, bool first)
{
    for (int i = 0; i < t.n; i++) {
        if (says_nothing(&t.f[i], base))
            continue;
        buf_printf(out, "%s\"%s\": ", first ? "" : ", ", t.f[i].name);
        put_field(out, &t.f[i], base);
        first = false;
    }
}

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\n  \"%s\": ", name);
    json_write_string(out, text, strlen(text));
}

static void put_ids(struct buf *out, const char *name, const uint32_t *id, int n)
{
    buf_printf(out, "\"%s\": [", name);
    for (int i = 0; i < n; i++)
        buf_printf(out, "%s\"%04x:%04x\"", i ? ", " : "", id[i] >> 16, id[i] & 0xffff);
    buf_puts(out, "], ");
}

static void put_match(struct buf *out, const struct gpu_match *m)
{
    buf_puts(out, ",\n  \"match\": {");
    put_ids(out, "pci", m->pci, m->n_pci);
    put_ids(out, "kin", m->kin, m->n_kin);
    buf_puts(out, "\"cc\": [");
    for (int i = 0; i < m->n_cc; i++)
        buf_printf(out, "%s\"%d.%d\"", i ? ", " : "", m->cc[i] / 10, m->cc[i] % 10);
    buf_printf(out, "], \"sm\": %d, ", m->sm);
    if (m->mem_gib[1] > 0) {
        buf_puts(out, "\"mem_gib\": [");
        json_write_number(out, m->mem_gib[0]);
        buf_puts(out, ", ");
        json_write_number(out, m->mem_gib[1]);
        buf_puts(out, "], ");
    }
    buf_printf(out, "\"mig\": %s}", m->mig ? "true" : "false");
}

void gpu_exception_write(struct buf *out, const struct gpu_exception *x)
{
    buf_printf(out, "{\"w\": \"%s\", \"path\": \"%s\"", dtype_info(x->w)->name, paths[x->p.path]);
    put_members(out, TABLE(gemm_fields, ""), x, false);
    if (gpu_path_tiled(x->p.path)) {
        buf_puts(out, ", \"p\": {");
        put_members(out, TABLE(params_fields, ""), &x->p, true);
        buf_putc(out, '}');
    } else if (x->lt.id >= 0) {
        buf_puts(out, ", \"lt\": {");
        put_members(out, TABLE(lt_fields, ""), &x->lt, true);
        if (x->lt.has_raw) {
            buf_puts(out, ", \"raw\": \"");
            for (size_t i = 0; i < sizeof x->lt.raw; i++)
                buf_printf(out, "%02x", x->lt.raw[i]);
            buf_putc(out, '"');
        }
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

void gpu_attn_write(struct buf *out, const struct gpu_attn *x)
{
    buf_putc(out, '{');
    put_members(out, TABLE(attn_fields, ""), x, true);
    buf_putc(out, '}');
}

static void put_lists(struct buf *out, const struct gpu_config *c)
{
    for (int i = 0; i < c->n_attn; i++) {
        buf_puts(out, i ? ",\n    " : ",\n  \"attn\": [\n    ");
        gpu_attn_write(out, &c->attn[i]);
    }
    buf_puts(out, c->n_attn ? "\n  ]" : "");
    buf_puts(out, ",\n  \"gemm\": [");
    for (int i = 0; i < c->n_gemm; i++) {
        buf_puts(out, i ? ",\n    " : "\n    ");
        gpu_exception_write(out, &c->gemm[i]);
    }
    buf_puts(out, c->n_gemm ? "\n  ],\n  \"deny\": [" : "],\n  \"deny\": [");
    for (int i = 0; i < c->n_deny; i++) {
        const struct gpu_deny *d = &c->deny[i];
        buf_printf(out, "%s{\"lt\": [%d, %d], \"what\": ", i ? ",\n    " : "\n    ", d->lt[0],
                   d->lt[1]);
        json_write_string(out, d->what, strlen(d->what));
        buf_puts(out, ", \"why\": ");
        json_write_string(out, d->why, strlen(d->why));
        buf_putc(out, '}');
    }
    buf_puts(out, c->n_deny ? "\n  ]" : "]");
}

void gpu_provenance_json(struct buf *out, const struct gpu_config *c)
{
    buf_printf(out, "\"kind\": \"%s\"", kinds[c->from.kind]);
    put_members(out, TABLE(provenance_fields, ""), &c->from, false);
}

void gpu_config_write(struct buf *out, const struct gpu_config *c)
{
    buf_printf(out, "{\n  \"schema\": %d", GPU_SCHEMA);
    put_text(out, "id", c->id);
    put_text(out, "name", c->name);
    put_match(out, &c->match);
    buf_puts(out, ",\n  \"provenance\": {");
    gpu_provenance_json(out, c);
    buf_putc(out, '}');
    if (c->unsupported) {
        put_text(out, "unsupported", c->unsupported);
        buf_puts(out, "\n}\n");
        return;
    }
    buf_printf(out, ",\n  \"mhz\": %d,\n  \"ceil\": {", c->mhz);
    put_members(out, TABLE(ceil_fields, ""), &c->ceil, true);
    buf_puts(out, "},\n  \"eff\": {");
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        buf_printf(out, "%s\n    \"%s\": {", i ? "," : "", kernels[i]);
        put_members(out, TABLE(eff_fields, ""), &c->eff[i], true);
        buf_putc(out, '}');
    }
    buf_puts(out, "\n  },\n  \"cross\": {");
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++) {
        buf_printf(out, "\n    \"%s\": {\"skinny_max_m\": %d", kernels[i] + strlen("skinny_"),
                   c->skinny_max_m[i]);
        if (gpu_mma8_kernel((enum gpu_kernel)i) != N_GPU_KERNEL)
            buf_printf(out, ", \"mma8_max_m\": %d", c->mma8_max_m[i]);
        buf_puts(out, "},");
    }
    buf_printf(out, "\n    \"attn_dec\": {\"chunk_tokens\": %d, \"max_parts\": %d}%s\n  }",
               c->attn_chunk, c->attn_parts, c->no_pdl ? ",\n    \"pdl\": false" : "");
    put_lists(out, c);
    buf_puts(out, "\n}\n");
}
