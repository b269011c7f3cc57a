/* select.c - see select.h. */
#include "kernels/gpu/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/sha256.h"
#include "kernels/gpu/registry.h"

static const double SHEET_SHARE = 0.9; /* of the memory's rate by clock and width */

const char *gpu_how_name(enum gpu_how h)
{
    static const char *const names[N_GPU_HOW] = {
        "given by --gpu-config",  "from the user's cache", "exact",
        "scaled from a near GPU", "of its family",         "no family known"};
    return names[h];
}

const char *gpu_selected_title(struct arena *a, const struct gpu_selected *s)
{
    return arena_printf(a, "%s, %s", gpu_config_title(a, &s->config), gpu_how_name(s->how));
}

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_write_string(out, text, strlen(text));
    buf_putc(out, ',');
}

/* Names what is computed, and how: the same file, GPU and program give the same. */
static void put_profile(struct buf *out, const struct gpu_config *c, const char *precision)
{
    struct buf text = {0};
    char hex[65];
    gpu_config_write(&text, c);
    buf_printf(&text, "kernels %s\nprecision %s\n", gpu_kernel_abi(), precision);
    sha256_hex(text.data, text.len, hex);
    put_text(out, "profile", hex);
    buf_clear(&text);
}

void gpu_selected_json(struct buf *out, const struct gpu_selected *s, const char *precision)
{
    buf_putc(out, '{');
    if (precision)
        put_profile(out, &s->config, precision);
    put_text(out, "id", s->config.id);
    put_text(out, "name", s->config.name);
    put_text(out, "selected", gpu_how_name(s->how));
    if (*s->refused)
        put_text(out, "refused", s->refused);
    gpu_provenance_json(out, &s->config);
    struct gpu_choices n = gpu_choices_of(&s->config);
    buf_printf(out, ",\"choices\":{\"gemm\":%d,\"cublaslt\":%d,\"attn\":%d}}", n.gemm, n.algorithms,
               n.attn);
}

enum status gpu_builtins(struct arena *a, struct gpu_config **out, int *n)
{
    *n = 0;
    while (gpu_embedded[*n].text)
        ++*n;
    *out = arena_calloc(a, (size_t)*n * sizeof **out);
    for (int i = 0; i < *n; i++) {
        const char *text = gpu_embedded[i].text;
        if (gpu_config_read(a, text, strlen(text), &(*out)[i]) != OK)
            return fail_in(ERR_INTERNAL, "built-in %s", gpu_embedded[i].file);
    }
    return OK;
}

/* ---- matching -------------------------------------------------------------------------------- */

static bool has_id(const uint32_t *id, int n, uint32_t pci)
{
    for (int i = 0; i < n; i++)
        if (id[i] == pci)
            return true;
    return false;
}

static bool has_cc(const struct gpu_match *m, int cc)
{
    for (int i = 0; i < m->n_cc; i++)
        if (m->cc[i] == cc)
            return true;
    return false;
}

enum status gpu_fits(const struct gpu_config *c, const struct gpu_facts *f)
{
    const struct gpu_match *m = &c->match;
    double gib = (double)f->mem_bytes / (1 << 30);
    if (m->n_pci > 0 && f->pci != 0 && !has_id(m->pci, m->n_pci, f->pci))
        return fail(ERR_INVALID, "is for other PCI ids than %04x:%04x", f->pci >> 16,
                    f->pci & 0xffff);
    if (!has_cc(m, f->cc))
        return fail(ERR_INVALID, "is for another compute capability than %d.%d", f->cc / 10,
                    f->cc % 10);
    if (m->sm != f->sms)
        return fail(ERR_INVALID, "is for %d multiprocessors, not %d", m->sm, f->sms);
    if (m->mem_gib[1] > 0 && (gib < m->mem_gib[0] || gib > m->mem_gib[1]))
        return fail(ERR_INVALID, "is for %.0f to %.0f GiB, not %.1f", m->mem_gib[0], m->mem_gib[1],
                    gib);
    if (m->mig != f->mig)
        return fail(ERR_INVALID, "is for %s", m->mig ? "a MIG slice" : "a whole GPU");
    return OK;
}

/* Configs of one GPU name its memory; those of families do not. */
static bool is_of_one(const struct gpu_config *c)
{
    return c->match.mem_gib[1] > 0;
}

/* ---- scaling --------------------------------------------------------------------------------- */

static int scaled_bucket(int m, double by)
{
    int best = 16, last = gpu_buckets[gpu_n_buckets() - 1];
    for (int i = 0; i < gpu_n_buckets(); i++)
        if (gpu_buckets[i] <= m * by && gpu_buckets[i] > best)
            best = gpu_buckets[i];
    return m == last ? last : best; /* the last one stands for always */
}

/* `from` with the ceilings of the GPU with these facts. Efficiencies are kept, measured exceptions
 * are not: they hold for one GPU. */
static void scale(struct arena *a, const struct gpu_config *from, const struct gpu_facts *f,
                  struct gpu_config *out)
{
    *out = *from;
    struct gpu_ceil *l = &out->ceil;
    double sms = (double)f->sms / from->match.sm;
    double rate = f->mhz > 0 ? sms * f->mhz / from->mhz : sms;
    double memory = f->gbs > 0 ? f->gbs * SHEET_SHARE / from->ceil.read_gbs : sms;
    double *const rates[] = {&l->l2_gbs,     &l->bf16_tflops,     &l->fp8_tflops,   &l->int8_tops,
                             &l->fp4_tflops, &l->mma_bf16_tflops, &l->mma_int8_tops};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        *rates[i] *= rate;
    l->copy_gbs *= memory;
    l->read_gbs *= memory;
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++) {
        out->skinny_max_m[i] = scaled_bucket(from->skinny_max_m[i], rate / memory);
        if (from->mma8_max_m[i])
            out->mma8_max_m[i] = scaled_bucket(from->mma8_max_m[i], rate / memory);
    }
    out->match = (struct gpu_match){.pci = {f->pci}, .n_pci = 1, .cc = {f->cc}, .n_cc = 1};
    out->match.sm = f->sms;
    out->match.mig = f->mig;
    out->match.mem_gib[0] = floor((double)f->mem_bytes / (1 << 30) * 0.95);
    out->match.mem_gib[1] = ceil((double)f->mem_bytes / (1 << 30) * 1.05) + 1;
    out->mhz = f->mhz > 0 ? f->mhz : from->mhz;
    out->n_gemm = out->n_attn = 0;
    out->from = (struct gpu_provenance){.kind = GPU_DERIVED,
                                        .parent = from->id,
                                        .model = GPU_MODEL,
                                        .date = "",
                                        .tool = "",
                                        .driver = "",
                                        .raw_sha256 = "",
                                        .kernel_abi = "",
                                        .ceilings = ""};
    out->from.how = arena_printf(a, "scaled from %d to %d multiprocessors", from->match.sm, f->sms);
    out->id = arena_printf(a, "like-%s", from->id);
    out->name = from->name;
}

/* ---- the line -------------------------------------------------------------------------------- */

/* What a near part, or else the same capability and the nearest number of multiprocessors, has. */
static const struct gpu_config *near(const struct gpu_config *all, int n, const struct gpu_facts *f)
{
    const struct gpu_config *best = NULL;
    for (int i = 0; i < n; i++) {
        const struct gpu_match *m = &all[i].match;
        if (all[i].unsupported || !is_of_one(&all[i]) || m->n_cc != 1 ||
            m->cc[0] / 10 != f->cc / 10)
            continue;
        if (has_id(m->pci, m->n_pci, f->pci) || has_id(m->kin, m->n_kin, f->pci))
            return &all[i];
        if (m->cc[0] == f->cc && (!best || abs(m->sm - f->sms) < abs(best->match.sm - f->sms)))
            best = &all[i];
    }
    return best;
}

static enum status from_builtins(struct arena *a, const struct gpu_facts *f,
                                 struct gpu_selected *out)
{
    struct gpu_config *all;
    const struct gpu_config *found = NULL, *exact = NULL, *generic = NULL;
    int n, n_exact = 0;
    TRY(gpu_builtins(a, &all, &n));
    for (int i = 0; i < n; i++) {
        const struct gpu_config *c = &all[i];
        if (c->unsupported && (has_id(c->match.pci, c->match.n_pci, f->pci) ||
                               (f->pci == 0 && has_cc(&c->match, f->cc))))
            return fail(ERR_UNSUPPORTED, "%s: %s", c->name, c->unsupported);
        if (is_of_one(c) && !c->unsupported && gpu_fits(c, f) == OK) {
            exact = c;
            n_exact++;
        }
        if (strcmp(c->id, "generic") == 0)
            generic = c;
    }
    if (exact && (f->pci != 0 || n_exact == 1)) {
        out->config = *exact;
        out->how = GPU_EXACT;
        /* Kernels have changed since: its choices are for others. */
        if (exact->from.kind == GPU_MEASURED &&
            strcmp(exact->from.kernel_abi, gpu_kernel_abi()) != 0)
            out->config.n_gemm = out->config.n_attn = 0;
        return OK;
    }
    out->how = GPU_NEAR;
    found = near(all, n, f);
    for (int i = 0; i < n && !found; i++)
        if (!is_of_one(&all[i]) && has_cc(&all[i].match, f->cc)) {
            found = &all[i];
            out->how = GPU_FAMILY;
        }
    if (!found) {
        found = generic;
        out->how = GPU_GENERIC;
    }
    if (!found)
        return fail(ERR_INTERNAL, "no generic GPU configuration is built in");
    scale(a, found, f, &out->config);
    return OK;
}

static enum status from_file(struct arena *a, const char *path, const struct gpu_facts *f,
                             struct gpu_config *out)
{
    char *text;
    size_t n;
    TRY(file_read(path, GPU_FILE_MAX, &text, &n));
    enum status s = gpu_config_read(a, text, n, out);
    xfree(text);
    if (s == OK)
        s = gpu_check(out);
    if (s == OK && out->unsupported)
        s = fail(ERR_INVALID, "describes a GPU that is not supported");
    if (s == OK)
        s = gpu_fits(out, f);
    if (s == OK && out->from.kind == GPU_MEASURED &&
        strcmp(out->from.kernel_abi, gpu_kernel_abi()) != 0)
        s = fail(ERR_INVALID, "was measured with other kernels (%s, this program has %s)",
                 out->from.kernel_abi, gpu_kernel_abi());
    return s == OK ? OK : fail_in(s, "GPU configuration %s", path);
}

const char *gpu_cache_path(struct arena *a, const char *folder, const struct gpu_facts *f)
{
    return arena_printf(a, "%s/gpu/%04x-%04x-%d-%s.json", folder, f->pci >> 16, f->pci & 0xffff,
                        f->sms, gpu_kernel_abi());
}

/* False: it was refused; the reason is kept. */
static bool take(struct arena *a, const char *path, const struct gpu_facts *f,
                 struct gpu_selected *out)
{
    if (from_file(a, path, f, &out->config) == OK)
        return true;
    out->refused = arena_printf(a, "%s%s%s", out->refused, *out->refused ? "; " : "", fail_text());
    log_warn("%s; the next in line is taken", fail_text());
    return false;
}

static bool exists(const char *path)
{
    struct file_map m;
    if (file_map_open(path, &m) != OK)
        return false;
    file_map_close(&m);
    return true;
}

enum status gpu_select(struct arena *a, const struct gpu_facts *f, const struct gpu_sources *s,
                       struct gpu_selected *out)
{
    const char *cache = s->cache ? gpu_cache_path(a, s->cache, f) : NULL;
    *out = (struct gpu_selected){.facts = *f, .refused = ""};
    if (s->file && take(a, s->file, f, out)) {
        out->how = GPU_FILE;
    } else if (cache && exists(cache) && take(a, cache, f, out)) {
        out->how = GPU_CACHE;
    } else {
        TRY(from_builtins(a, f, out));
    }
    if (!s->strict)
        return OK;
    if (*out->refused)
        return fail(ERR_UNSUPPORTED, "--strict: %s", out->refused);
    if (out->how > GPU_EXACT)
        return fail(ERR_UNSUPPORTED,
                    "--strict: no GPU configuration of exactly this GPU (%04x:%04x, %d "
                    "multiprocessors): it would get %s; `inferd tune` makes one",
                    f->pci >> 16, f->pci & 0xffff, f->sms, gpu_selected_title(a, out));
    return OK;
}
