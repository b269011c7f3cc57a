/* pack.c - see pack.h.
 *
 * The weights are cut into pieces of about a megabyte. Several threads fill pinned slots, which is
 * where a file is read: each asks for its piece at once, so the disk has as many requests as there
 * are threads. This thread, the device's, hands full slots to a stream of copies in order and frees
 * them when their tickets have ended; no other calls the runtime. Blocks go over as the file has
 * them, each slot to its like in the device's scratch, and become panels on the device's own stream
 * while the next copies run, so that the bus never waits for a kernel. The invariant: slot i %
 * n_slots, here and there, holds piece i from when a thread takes it until `freed` passes it. */
#include "kernels/cuda/pack.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/thread.h"
#include "kernels/cuda/panel.h"
#include "kernels/cuda/ring.h"

enum { PIECE = 1 << 20, SMALL = 4 << 20 };

/* A unit: a row, or 16 of them where they become a panel. */
struct weight {
    const struct pack_item *item;
    bool panel; /* rows of blocks in a slot, panels when packed; else rows */
    int64_t rows, k;
    int64_t unit_rows, units;
    size_t stride;                /* of a row in a slot */
    size_t slot_bytes, out_bytes; /* of a unit in a slot, in the packed weight */
};

struct piece {
    const struct weight *w;
    int64_t first, count; /* units */
    bool full;            /* its slot is; under the lock */
};

struct line {
    struct piece *piece;
    int n;
    char *slots;
    size_t slot_bytes;
    int n_slots;
    pthread_mutex_t lock; /* guards what follows, and piece.full */
    pthread_cond_t changed;
    int next, freed; /* next: to be filled; freed: whose slots are free again */
    bool stop;
};

int cuda_pack_threads(void)
{
    int n = thread_cpus();
    return n < 2 ? 2 : n < CUDA_PACK_THREADS ? n : CUDA_PACK_THREADS; /* one reads, one copies */
}

/* ---- what there is to do --------------------------------------------------------------------- */

static enum status look_at(const struct pack_item *it, struct weight *w)
{
    const enum dtype t = (enum dtype)it->src[0].dtype;
    const bool panel = it->how->layout == LAYOUT_PANEL;
    const size_t row = dtype_row_bytes(t, it->src[0].shape[1]);
    *w = (struct weight){.item = it, .panel = panel, .k = it->src[0].shape[1]};
    w->unit_rows = panel ? PANEL_ROWS : 1;
    for (int i = 0; i < it->n; i++)
        w->rows += it->src[i].shape[0];
    w->units = (w->rows + w->unit_rows - 1) / w->unit_rows;
    w->out_bytes = it->how->bytes / (size_t)w->units;
    w->stride = panel ? row : w->out_bytes; /* rows may be padded */
    w->slot_bytes = w->stride * (size_t)w->unit_rows;
    bool fits = panel ? cuda_panel_bytes(t, w->rows, w->k) == it->how->bytes : w->stride >= row;
    if (!fits || it->how->bytes == 0 || (!panel && it->how->layout != LAYOUT_ROWS))
        return fail(ERR_INTERNAL, "pack: %s [%lld, %lld], a choice of %zu bytes, layout %d",
                    dtype_info(t)->name, (long long)w->rows, (long long)w->k, it->how->bytes,
                    (int)it->how->layout);
    if (w->slot_bytes > RING_BYTES) /* a queue's scratch is larger than the ring */
        return fail(ERR_UNSUPPORTED, "pack: rows of %s with %lld columns are too long",
                    dtype_info(t)->name, (long long)w->k);
    return OK;
}

/* Units of a piece of w. */
static int64_t units_of_piece(const struct line *l, const struct weight *w)
{
    int64_t n = (int64_t)(l->slot_bytes / w->slot_bytes);
    return n < w->units ? n : w->units;
}

static void cut(struct line *l, const struct weight *w, int n)
{
    l->slot_bytes = PIECE;
    for (int i = 0; i < n; i++)
        if (w[i].slot_bytes > l->slot_bytes)
            l->slot_bytes = (w[i].slot_bytes + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
    l->n_slots = RING_BYTES / (int)l->slot_bytes;
    for (int i = 0; i < n; i++)
        l->n += (int)((w[i].units + units_of_piece(l, &w[i]) - 1) / units_of_piece(l, &w[i]));
    l->piece = xcalloc((size_t)l->n, sizeof *l->piece);
    struct piece *p = l->piece;
    for (int i = 0; i < n; i++)
        for (int64_t at = 0, step = units_of_piece(l, &w[i]); at < w[i].units; at += step)
            *p++ =
                (struct piece){&w[i], at, w[i].units - at < step ? w[i].units - at : step, false};
}

/* ---- filling slots: any thread --------------------------------------------------------------- */

/* Rows [first, first + count) of the stacked tensors to `out`; those beyond the last are left out,
 * and the end of a padded row is zero. */
static void copy_rows(const struct weight *w, int64_t first, int64_t count, char *out)
{
    const size_t row = dtype_row_bytes((enum dtype)w->item->src[0].dtype, w->k);
    for (int i = 0; i < w->item->n && count > 0; i++) {
        const struct tensor *t = &w->item->src[i];
        if (first >= t->shape[0]) {
            first -= t->shape[0];
            continue;
        }
        int64_t n = t->shape[0] - first < count ? t->shape[0] - first : count;
        bool dense = t->stride[0] == (int64_t)row && w->stride == row;
        int64_t step = dense ? n : 1;
        memory_fetch(tensor_row(t, first), (size_t)(t->stride[0] * (n - 1)) + row);
        for (int64_t r = 0; r < n; r += step, out += w->stride * (size_t)step) {
            memcpy(out, tensor_row(t, first + r), row * (size_t)step);
            if (!dense)
                memset(out + row, 0, w->stride - row);
        }
        count -= n;
        first = 0;
    }
}

static void fill(const struct line *l, int i)
{
    const struct piece *p = &l->piece[i];
    const struct weight *w = p->w;
    char *slot = l->slots + (size_t)(i % l->n_slots) * l->slot_bytes;
    copy_rows(w, p->first * w->unit_rows, p->count * w->unit_rows, slot);
}

static void *filler(void *arg)
{
    struct line *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->next < l->n && l->next - l->freed >= l->n_slots)
            pthread_cond_wait(&l->changed, &l->lock);
        if (l->stop || l->next == l->n)
            break;
        int i = l->next++;
        pthread_mutex_unlock(&l->lock);
        fill(l, i);
        pthread_mutex_lock(&l->lock);
        l->piece[i].full = true;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- emptying them: the device's thread ------------------------------------------------------ */

/* The stream that copies, beside the device's own, which waits for each copy. */
struct copies {
    cudaStream_t stream;
    cudaEvent_t done; /* of the last copy */
};

static enum status copies_open(struct copies *c)
{
    TRY(cuda_check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "stream"));
    return cuda_check(cudaEventCreateWithFlags(&c->done, cudaEventDisableTiming), "event");
}

static void copies_close(struct copies *c)
{
    if (c->done)
        cudaEventDestroy(c->done);
    if (c->stream)
        cudaStreamDestroy(c->stream);
}

static enum status submit(struct cuda_queue *q, const struct copies *c, const struct line *l, int i)
{
    const struct piece *p = &l->piece[i];
    const struct weight *w = p->w;
    const size_t at = (size_t)(i % l->n_slots) * l->slot_bytes;
    char *out = (char *)w->item->dst->data + (size_t)p->first * w->out_bytes;
    char *to = w->panel ? (char *)q->scratch + at : out;
    int64_t left = w->rows - p->first * w->unit_rows, rows = p->count * w->unit_rows;
    rows = rows < left ? rows : left;
    TRY(cuda_check(cudaMemcpyAsync(to, l->slots + at, (size_t)rows * w->stride,
                                   cudaMemcpyHostToDevice, c->stream),
                   "upload"));
    TRY(cuda_check(cudaEventRecord(c->done, c->stream), "record"));
    TRY(cuda_check(cudaStreamWaitEvent(q->stream, c->done, 0), "wait"));
    if (!w->panel)
        return OK;
    const struct panel_raw r = {(enum dtype)w->item->src[0].dtype, to, out, (int)rows, w->k};
    return cuda_panel_make(q, &r);
}

/* Until piece i is there; frees the slots of those before it meanwhile. */
static enum status await(struct line *l, struct ring *r, const uint64_t *ticket, int i)
{
    enum status s = OK;
    pthread_mutex_lock(&l->lock);
    while (s == OK && !l->piece[i].full) {
        if (l->freed == i) {
            pthread_cond_wait(&l->changed, &l->lock);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        s = ring_wait(r, ticket[l->freed % l->n_slots]); /* only this thread writes `freed` */
        pthread_mutex_lock(&l->lock);
        l->freed++;
        pthread_cond_broadcast(&l->changed);
    }
    while (s == OK && l->freed < i && ring_done(r, ticket[l->freed % l->n_slots]))
        l->freed++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return s;
}

/* Without other threads this one fills the slots too. */
static enum status empty(struct cuda_queue *q, const struct copies *c, struct line *l,
                         struct ring *r, bool alone)
{
    uint64_t ticket[RING_BYTES / PIECE];
    for (int i = 0; i < l->n; i++) {
        if (alone && i >= l->n_slots)
            TRY(ring_wait(r, ticket[i % l->n_slots]));
        if (alone)
            fill(l, i);
        else
            TRY(await(l, r, ticket, i));
        TRY(submit(q, c, l, i));
        TRY(ring_record(r, &ticket[i % l->n_slots]));
    }
    return ring_drain(r);
}

static enum status run(struct cuda_queue *q, struct line *l, struct ring *r, size_t bytes)
{
    pthread_t thread[CUDA_PACK_THREADS];
    const int n = bytes < SMALL ? 0 : cuda_pack_threads();
    struct copies c = {0};
    enum status s = copies_open(&c);
    int started = 0;
    while (s == OK && started < n && thread_start(&thread[started], "pack", filler, l) == OK)
        started++;
    if (s == OK)
        s = empty(q, &c, l, r, started == 0);
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    if (!r->stuck)
        copies_close(&c);
    return s;
}

enum status cuda_pack_items(struct cuda_queue *q, struct ring *r, const struct pack_item *item,
                            int n)
{
    struct weight *w = xcalloc((size_t)n, sizeof *w);
    struct line l = {.slots = r->base};
    enum status s = ring_drain(r);
    size_t bytes = 0;
    for (int i = 0; i < n && s == OK; i++) {
        s = look_at(&item[i], &w[i]);
        bytes += item[i].how->bytes;
    }
    if (s == OK) {
        pthread_mutex_init(&l.lock, NULL);
        pthread_cond_init(&l.changed, NULL);
        cut(&l, w, n);
        s = run(q, &l, r, bytes);
        pthread_cond_destroy(&l.changed);
        pthread_mutex_destroy(&l.lock);
    }
    for (int i = 0; i < n && s == OK; i++) {
        struct tensor *dst = item[i].dst;
        *dst = tensor_2d(dst->data, (enum dtype)item[i].src[0].dtype, w[i].rows, w[i].k);
        dst->layout = (uint8_t)item[i].how->layout;
        dst->stride[0] = (int64_t)w[i].stride;
        if (dst->layout == LAYOUT_PANEL)
            memset(dst->stride, 0, sizeof dst->stride);
    }
    xfree(l.piece);
    xfree(w);
    return s;
}
