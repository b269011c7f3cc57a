/* tune_log.c - see tune_log.h. A log may have been cut off in a line: what cannot be read does not
 * count. */
#include "kernels/gpu/tune_log.h"

#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/registry.h"

void tune_log_begin(struct buf *log, const char *gpu, const char *driver, int cublaslt)
{
    buf_printf(log, "{\"tune\":2,\"kernel_abi\":\"%s\",\"cublaslt\":%d,\"gpu\":", gpu_kernel_abi(),
               cublaslt);
    json_write_string(log, gpu, strlen(gpu));
    buf_puts(log, ",\"driver\":");
    json_write_string(log, driver, strlen(driver));
    buf_puts(log, "}\n");
}

bool tune_log_matches(const struct buf *log, const char *gpu, const char *driver, int cublaslt)
{
    struct buf want = {0};
    tune_log_begin(&want, gpu, driver, cublaslt);
    bool same = log->len >= want.len && memcmp(log->data, want.data, want.len) == 0;
    buf_clear(&want);
    return same;
}

static void put_weight(struct buf *log, enum dtype w, int64_t n, int64_t k)
{
    buf_printf(log, "\"w\":\"%s\",\"n\":%lld,\"k\":%lld", dtype_info(w)->name, (long long)n,
               (long long)k);
}

static void put_numbers(struct buf *log, const char *name, const double *v, int n)
{
    buf_printf(log, ",\"%s\":[", name);
    for (int i = 0; i < n; i++)
        buf_printf(log, i ? ",%.5g" : "%.5g", v[i]);
    buf_putc(log, ']');
}

void tune_log_ratio(struct buf *log, const struct gpu_shape *s, const struct gpu_params *p,
                    const double *ratio, int n)
{
    buf_putc(log, '{');
    put_weight(log, s->w, s->n, s->k);
    buf_printf(log, ",\"m\":%lld,\"path\":\"%s\",\"nt\":%d,\"r\":%d,\"splits\":%d", (long long)s->m,
               gpu_path_name(p->path), p->nt, p->r, p->splits);
    if (p->lt)
        buf_printf(log, ",\"lt\":[%d,%d,%d,%d,%d,%d,%d,%d,%d]", p->lt->id, p->lt->tile,
                   p->lt->stages, p->lt->splitk, p->lt->reduction, p->lt->swizzle, p->lt->custom,
                   p->lt->inner, p->lt->cluster);
    put_numbers(log, "ratio", ratio, n);
    buf_puts(log, "}\n");
}

/* [m, path, nt, splits, microseconds] of each. */
static void put_points(struct buf *log, const struct tune_done *d)
{
    buf_puts(log, ",\"points\":[");
    for (int i = 0; i < d->n_points; i++) {
        const struct tune_point *p = &d->point[i];
        buf_printf(log, "%s[%lld,%d,%d,%d,%.5g]", i ? "," : "", (long long)p->shape.m,
                   (int)p->params.path, p->params.nt, p->params.splits, p->us);
    }
    buf_putc(log, ']');
}

void tune_log_done(struct buf *log, const struct tune_done *d)
{
    buf_puts(log, "{\"done\":{");
    put_weight(log, d->weight.w, d->weight.n, d->weight.k);
    buf_printf(log, "},\"changed\":%d,\"rejected\":%d,\"dropped\":%d", d->changed, d->rejected,
               d->dropped);
    put_numbers(log, "m", d->m, d->n);
    put_numbers(log, "ratio", d->ratio, d->n);
    put_numbers(log, "us", d->us, d->n);
    put_points(log, d);
    buf_puts(log, ",\"gemm\":[");
    for (int i = 0; i < d->n_x; i++) {
        buf_puts(log, i ? "," : "");
        gpu_exception_write(log, &d->x[i]);
    }
    buf_puts(log, "]}\n");
}

static bool numbers(const struct json *list, double *out, int *n)
{
    *n = 0;
    for (const struct json *e = list ? list->first : NULL; e; e = e->next) {
        if (!json_is(e, JSON_NUMBER) || *n == TUNE_ROWS_MAX || !(e->number >= 0))
            return false;
        out[(*n)++] = e->number;
    }
    return *n > 0;
}

static bool count(const struct json *v, const char *name, int *out)
{
    int64_t n;
    if (!json_integer(json_get(v, name), &n) || n < 0 || n > 1000000)
        return false;
    *out = (int)n;
    return true;
}

static bool is_weight(const struct json *v, const struct tune_weight *w)
{
    const struct json *type = json_get(v, "w");
    int64_t n, k;
    return json_is(type, JSON_STRING) && bytes_equal(type->text, dtype_info(w->w)->name) &&
           json_integer(json_get(v, "n"), &n) && n == w->n && json_integer(json_get(v, "k"), &k) &&
           k == w->k;
}

static bool set_tile(struct gpu_params *p, int nt)
{
    bool mma8 = p->path != GPU_PATH_SKINNY;
    const struct gpu_tile *tiles = mma8 ? gpu_mma8_tiles : gpu_tiles;
    int n = mma8 ? gpu_n_mma8_tiles() : gpu_n_tiles();
    if (!gpu_path_own(p->path))
        return true;
    for (int i = 0; i < n; i++)
        if (tiles[i].nt == nt) {
            p->nt = nt;
            p->r = tiles[i].r;
            return true;
        }
    return false;
}

/* A launch that is built no more is left out. */
static bool read_points(const struct json *list, struct tune_done *d)
{
    if (!json_is(list, JSON_ARRAY) || list->count > TUNE_POINTS_MAX)
        return false;
    for (const struct json *e = list->first; e; e = e->next) {
        struct tune_point p = {.shape = {d->weight.w, 0, d->weight.n, d->weight.k}};
        const struct json *us = json_at(e, 4);
        int64_t v[4];
        for (int i = 0; i < 4; i++)
            if (!json_integer(json_at(e, i), &v[i]) || v[i] < 0 || v[i] > 1000000)
                return false;
        if (!json_is(us, JSON_NUMBER) || !(us->number > 0) || v[1] >= N_GPU_PATH)
            return false;
        p.shape.m = v[0];
        p.params = (struct gpu_params){.path = (enum gpu_path)v[1], .splits = (int)v[3]};
        p.us = us->number;
        if (set_tile(&p.params, (int)v[2]))
            d->point[d->n_points++] = p;
    }
    return true;
}

static bool read_done(struct arena *a, const char *line, size_t n, const struct tune_weight *w,
                      struct tune_done *out)
{
    const struct json *v, *list;
    int n_us, n_m;
    if (json_parse(a, line, n, &v) != OK || !is_weight(json_get(v, "done"), w))
        return false;
    list = json_get(v, "gemm");
    *out = (struct tune_done){.weight = *w};
    if (!count(v, "changed", &out->changed) || !count(v, "rejected", &out->rejected) ||
        !count(v, "dropped", &out->dropped) ||
        !numbers(json_get(v, "ratio"), out->ratio, &out->n) ||
        !numbers(json_get(v, "us"), out->us, &n_us) || n_us != out->n ||
        !numbers(json_get(v, "m"), out->m, &n_m) || n_m != out->n || !json_is(list, JSON_ARRAY) ||
        list->count > TUNE_ROWS_MAX || !read_points(json_get(v, "points"), out))
        return false;
    for (int i = 0; i < out->n; i++)
        if (!(out->ratio[i] > 0))
            return false;
    for (const struct json *e = list->first; e; e = e->next) {
        struct gpu_exception *x = &out->x[out->n_x++];
        if (gpu_exception_read(a, e, x) != OK || x->w != w->w || x->n != w->n || x->k != w->k)
            return false;
    }
    return true;
}

/* What reads a line into `out`; false: it is of something else, or broken. */
typedef bool line_fn(struct arena *a, const char *line, size_t n, const void *what, void *out);

/* The last whole line that begins with `mark` and can be read. */
static bool find(const struct buf *log, const char *mark, line_fn *read, const void *what,
                 void *out)
{
    bool found = false;
    size_t n_mark = strlen(mark);
    for (size_t at = 0; at < log->len;) {
        const char *line = log->data + at, *end = memchr(line, '\n', log->len - at);
        size_t n = end ? (size_t)(end - line) : log->len - at;
        struct arena a;
        arena_init(&a, 16 << 20);
        if (end && n > n_mark && memcmp(line, mark, n_mark) == 0)
            found |= read(&a, line, n, what, out);
        arena_clear(&a);
        at += n + 1;
    }
    return found;
}

static bool done_line(struct arena *a, const char *line, size_t n, const void *what, void *out)
{
    struct tune_done *d = xmalloc(sizeof *d);
    bool read = read_done(a, line, n, what, d);
    if (read)
        *(struct tune_done *)out = *d;
    xfree(d);
    return read;
}

bool tune_log_find(const struct buf *log, const struct tune_weight *w, struct tune_done *out)
{
    return find(log, "{\"done\":", done_line, w, out);
}

/* ---- attention ------------------------------------------------------------------------------- */

void tune_log_attn(struct buf *log, int head_dim, int group, const struct gpu_attn *x)
{
    buf_printf(log, "{\"heads\":[%d,%d],\"attn\":[", head_dim, group);
    if (x)
        gpu_attn_write(log, x);
    buf_puts(log, "]}\n");
}

struct attn_found {
    struct gpu_attn x;
    bool found;
};

static bool attn_line(struct arena *a, const char *line, size_t n, const void *what, void *out)
{
    const struct gpu_attn *want = what;
    const struct json *v, *list;
    struct attn_found *to = out, now = {.x = *want};
    int64_t d, group;
    if (json_parse(a, line, n, &v) != OK || !json_integer(json_at(json_get(v, "heads"), 0), &d) ||
        !json_integer(json_at(json_get(v, "heads"), 1), &group) || d != want->head_dim ||
        group != want->group)
        return false;
    list = json_get(v, "attn");
    if (!json_is(list, JSON_ARRAY) || list->count > 1)
        return false;
    now.found = list->count == 1;
    if (now.found && (gpu_attn_read(list->first, &now.x) != OK || now.x.head_dim != d ||
                      now.x.group != group || !(now.x.us > 0)))
        return false;
    *to = now;
    return true;
}

bool tune_log_find_attn(const struct buf *log, struct gpu_attn *x, bool *found)
{
    struct attn_found to = {0};
    if (!find(log, "{\"heads\":", attn_line, x, &to))
        return false;
    *x = to.x;
    *found = to.found;
    return true;
}
