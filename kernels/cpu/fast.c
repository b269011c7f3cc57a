/* fast.c - opens the fast part of the CPU, packs weights, and runs linear and embed over panels.
 *
 * An op is one or two stages of the pool. Linear: rows of x are packed once, then chunks of panels
 * are taken by whoever is free. Chunks are whole panels, so no output is ever shared by threads,
 * and how many there are changes no bit. */
#include "kernels/cpu/fast.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum {
    LINE = 64,
    HUGE_PAGE = 2 << 20,
    ACT_ROWS = 256,          /* rows of x packed at a time; bounds the scratch memory */
    CHUNK_BYTES = 128 << 10, /* of weights: 5-10 us from memory, far above the cost of a chunk */
    CHUNKS_A_THREAD = 6,     /* at least, so that the last one ends soon after the others */
    FEW_ROWS = 8,            /* up to here tiles are one panel wide (linear.c) */
    CHUNK_PANELS = 4,        /* chunks are multiples of the widest tile, where there are enough */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void fast_reserve(struct fast *f, size_t bytes)
{
    if (bytes <= f->scratch_bytes)
        return;
    xfree(f->memory);
    f->memory = xmalloc(bytes + LINE);
    f->scratch = (char *)(((uintptr_t)f->memory + LINE - 1) / LINE * LINE);
    f->scratch_bytes = bytes;
}

enum status fast_open(struct fast *f, int threads, const char *isa)
{
    *f = (struct fast){.isa = isa_select(isa)};
    if (!f->isa)
        return fail(ERR_UNSUPPORTED, "instruction set %s: unknown, or not what this CPU (%s) has",
                    isa, isa_select(NULL)->name);
    return pool_open(threads, &f->pool);
}

void fast_close(struct fast *f)
{
    pool_close(f->pool);
    rope_cache_free(&f->rope[0]);
    rope_cache_free(&f->rope[1]);
    xfree(f->memory);
    *f = (struct fast){.isa = NULL};
}

bool fast_packs(const struct fast *f, enum dtype t, int64_t n, int64_t k, size_t *bytes)
{
    if (!panel_format(t) || !f->isa->linear[t] || k % dtype_info(t)->block != 0)
        return false;
    *bytes = (size_t)panel_count(n) * panel_bytes(t, k);
    return true;
}

/* --- packing */

/* Chunks are huge pages of the destination, whatever weights lie there: the thread that packs into
 * a fresh page is the one for which the kernel clears it, and two that touched it at the same time
 * would each have a page cleared and one thrown away. For the same reason chunks that are taken one
 * after the other lie far apart: panels reach over the ends of pages. */
struct piece { /* of a weight: the panels that begin in one page */
    const struct pack_work *work;
    int64_t first, last;
};

struct pack_stage {
    struct pack_work *work;
    struct piece *piece;
    int64_t *chunk; /* [chunks + 1] where each begins in `piece` */
    int64_t pieces, chunks;
    int64_t streams, per; /* one a thread; chunks of each */
    uintptr_t page;       /* that the last piece lies in */
};

static void pack_chunk(void *arg, int64_t chunk, int worker)
{
    const struct pack_stage *s = arg;
    int64_t at = chunk % s->streams * s->per + chunk / s->streams;

    (void)worker;
    if (at >= s->chunks)
        return;
    for (int64_t i = s->chunk[at]; i < s->chunk[at + 1]; i++)
        pack_panels(s->piece[i].work, s->piece[i].first, s->piece[i].last);
}

static void cut(struct pack_stage *s, const struct pack_work *w, int64_t panels, size_t bytes)
{
    for (int64_t p = 0, end; p < panels; p = end) {
        uintptr_t at = (uintptr_t)w->dst + (uintptr_t)p * bytes, page = at / HUGE_PAGE;

        end = p + (int64_t)(((page + 1) * HUGE_PAGE - at + bytes - 1) / bytes);
        end = least(end, panels);
        if (s->chunks == 0 || page != s->page)
            s->chunk[s->chunks++] = s->pieces;
        s->page = page;
        s->piece[s->pieces++] = (struct piece){w, p, end};
    }
}

void fast_pack(struct fast *f, const struct pack_item *item, int n)
{
    struct pack_stage s = {.work = xmalloc((size_t)n * sizeof *s.work)};
    size_t pages = 0;

    for (int i = 0; i < n; i++) {
        const struct tensor *src = item[i].src;
        enum dtype t = (enum dtype)src->dtype;
        int64_t rows = 0, k = src->shape[1];
        struct tensor *dst = item[i].dst;

        for (int j = 0; j < item[i].n; j++)
            rows += src[j].shape[0];
        s.work[i] = (struct pack_work){src, item[i].n, f->isa->pack[t], dst->data};
        pages += (size_t)panel_count(rows) * panel_bytes(t, k) / HUGE_PAGE + 2;
        *dst = tensor_2d(dst->data, t, rows, k);
        dst->layout = LAYOUT_PANEL;
        dst->stride[0] = dst->stride[1] = 0;
    }
    s.piece = xmalloc(pages * sizeof *s.piece);
    s.chunk = xmalloc((pages + 1) * sizeof *s.chunk);
    for (int i = 0; i < n; i++) {
        const struct tensor *w = item[i].dst;
        cut(&s, &s.work[i], panel_count(w->shape[0]),
            panel_bytes((enum dtype)w->dtype, w->shape[1]));
    }
    s.chunk[s.chunks] = s.pieces;
    s.streams = pool_threads(f->pool);
    s.per = (s.chunks + s.streams - 1) / s.streams;
    pool_run(f->pool, s.streams * s.per, pack_chunk, &s);
    xfree(s.work);
    xfree(s.piece);
    xfree(s.chunk);
}

/* --- linear */

struct linear_stage {
    struct fast *f;
    const struct op_linear *op;
    struct linear_job job;
    int64_t row, rows_per, panels, per;
};

static void act_chunk(void *arg, int64_t chunk, int worker)
{
    struct linear_stage *s = arg;
    int64_t end = least((chunk + 1) * s->rows_per, s->job.m);

    (void)worker;
    for (int64_t r = chunk * s->rows_per; r < end; r++)
        s->f->isa->act(s->job.type, tensor_row(&s->op->x, s->row + r), s->op->x.shape[1],
                       (char *)s->f->scratch + (size_t)r * s->job.xs);
}

static void linear_chunk(void *arg, int64_t chunk, int worker)
{
    struct linear_stage *s = arg;
    int64_t first = chunk * s->per, last = least(first + s->per, s->panels);

    (void)worker;
    s->f->isa->linear[s->job.type](&s->job, first, last);
}

/* Many rows are worth a chunk as wide as a tile, where that leaves two for each thread. */
static int64_t panels_a_chunk(const struct fast *f, int64_t panels, size_t bytes, int64_t rows)
{
    int64_t threads = pool_threads(f->pool), per = CHUNK_BYTES / (int64_t)bytes;

    per = least(per, panels / (threads * CHUNKS_A_THREAD));
    if (per >= CHUNK_PANELS)
        return per / CHUNK_PANELS * CHUNK_PANELS;
    if (rows <= FEW_ROWS)
        return per < 1 ? 1 : per;
    return panels / (threads * 2) >= CHUNK_PANELS ? CHUNK_PANELS : 2;
}

void fast_reserve_linear(struct fast *f, const struct op_linear *a)
{
    size_t row = act_stride((enum dtype)a->w.dtype, a->w.shape[1]);

    if (a->w.layout == LAYOUT_PANEL)
        fast_reserve(f, (size_t)least(a->x.shape[0], ACT_ROWS) * row);
}

bool fast_linear(struct fast *f, const struct op_linear *a)
{
    enum dtype t = (enum dtype)a->w.dtype;
    int64_t k = a->w.shape[1], rows = a->x.shape[0];
    struct linear_stage s = {.f = f, .op = a};

    if (a->w.layout != LAYOUT_PANEL)
        return false;
    if (a->live)
        rows = least(rows, a->live[0]);
    s.job = (struct linear_job){.type = t,
                                .w = a->w.data,
                                .panel = panel_bytes(t, k),
                                .n = a->w.shape[0],
                                .steps = panel_steps(t, k),
                                .xs = act_stride(t, k),
                                .ldy = a->y.stride[0] / 4,
                                .bias = a->bias.data,
                                .global = a->w.q ? a->w.q->global : 0,
                                .ldadd = a->add.stride[0] / 4};
    s.panels = panel_count(s.job.n);
    s.per = panels_a_chunk(f, s.panels, s.job.panel, rows);
    fast_reserve(f, (size_t)least(rows, ACT_ROWS) * s.job.xs);
    s.job.x = f->scratch;
    for (s.row = 0; s.row < rows; s.row += ACT_ROWS) {
        s.job.m = least(rows - s.row, ACT_ROWS);
        s.job.y = tensor_row(&a->y, s.row);
        s.job.add = a->add.data ? tensor_row(&a->add, s.row) : NULL;
        s.rows_per = s.job.m * k < CHUNK_BYTES / 4 ? s.job.m : (CHUNK_BYTES / 8 + k - 1) / k;
        pool_run(f->pool, (s.job.m + s.rows_per - 1) / s.rows_per, act_chunk, &s);
        pool_run(f->pool, (s.panels + s.per - 1) / s.per, linear_chunk, &s);
    }
    return true;
}

/* --- embed */

static void embed_row(void *arg, int64_t r, int worker)
{
    const struct op_embed *a = arg;
    int64_t k = a->table.shape[1];
    float *y = tensor_row(&a->y, r);
    int32_t token = a->token[r];

    (void)worker;
    if (token == TOKEN_FROM_SLOT)
        token = a->last[a->r.seq_slot[a->r.row_seq[r]]];
    if (token < 0)
        memcpy(y, tensor_row(&a->rows, ~token), (size_t)k * sizeof *y);
    else
        panel_row(&a->table, token, y);
    for (int64_t i = 0; a->scale != 1 && i < k; i++)
        y[i] *= a->scale;
}

bool fast_embed(struct fast *f, const struct op_embed *a)
{
    struct op_embed copy = *a;

    if (a->table.layout != LAYOUT_PANEL)
        return false;
    pool_run(f->pool, a->r.live ? least(a->r.rows, a->r.live[0]) : a->r.rows, embed_row, &copy);
    return true;
}

/* --- the read test */

typedef uint64_t lanes __attribute__((vector_size(16)));

struct read_stage {
    const char *p;
    size_t bytes;
    _Atomic uint64_t sum; /* so that nothing is optimised away */
};

static void read_chunk(void *arg, int64_t chunk, int worker)
{
    struct read_stage *s = arg;
    const char *p = s->p + chunk * CHUNK_BYTES;
    size_t n = s->bytes - (size_t)chunk * CHUNK_BYTES;
    lanes a = {0}, b = a, c = a, d = a;

    (void)worker;
    n = n < CHUNK_BYTES ? n : CHUNK_BYTES;
    for (const char *end = p + n; p + LINE <= end; p += LINE) {
        const lanes *v = (const void *)p;
        a ^= v[0], b ^= v[1], c ^= v[2], d ^= v[3];
    }
    a ^= b ^ c ^ d;
    atomic_fetch_add(&s->sum, a[0] ^ a[1]);
}

double fast_read_rate(struct fast *f, const void *p, size_t bytes)
{
    struct read_stage s = {.p = p, .bytes = bytes};
    double begin = clock_now();

    pool_run(f->pool, (int64_t)((bytes + CHUNK_BYTES - 1) / CHUNK_BYTES), read_chunk, &s);
    return (double)bytes / (clock_now() - begin) * 1e-9;
}
