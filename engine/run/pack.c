/* pack.c - see pack.h. */
#include "engine/run/pack.h"

#include <string.h>

#include "kernels/base/mem.h"

static size_t pad(size_t n)
{
    return (n + 255) / 256 *
           256; /* as device allocators align; keeps every array's rows on own lines */
}

/* Lays the arrays out behind `base`; returns the bytes used. With base NULL only the size counts.
 */
static size_t layout(const struct pack_sizes *m, char *base, struct pack_arrays *a)
{
    size_t used = 0, rows = (size_t)m->rows, seqs = (size_t)m->seqs, want = (size_t)m->want;
    /* clang-format off */
    const struct { void **at; size_t bytes; } array[] = {
        {(void **)&a->live,      2 * sizeof(int32_t)},
        {(void **)&a->want_live, sizeof(int32_t)},
        {(void **)&a->token,     rows * sizeof(int32_t)},
        {(void **)&a->pos,       rows * sizeof(int32_t)},
        {(void **)&a->row_seq,   rows * sizeof(int32_t)},
        {(void **)&a->seq_start, (seqs + 1) * sizeof(int32_t)},
        {(void **)&a->seq_slot,  seqs * sizeof(int32_t)},
        {(void **)&a->want,      want * sizeof(int32_t)},
        {(void **)&a->sample,    want * sizeof(struct sample_row)},
        {(void **)&a->bias,      (size_t)m->bias * sizeof(struct sample_bias)},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) {
        *array[i].at = base ? base + used : NULL;
        used += pad(array[i].bytes);
    }
    return used;
}

static size_t out_bytes(const struct pack_sizes *m)
{
    return pad((size_t)m->want * sizeof(struct sample_out));
}

static size_t table_bytes(const struct pack_sizes *m)
{
    return pad((size_t)m->slots * (size_t)m->table_stride * sizeof(int32_t));
}

size_t pack_device_bytes(const struct pack_sizes *max)
{
    struct pack_arrays a;
    size_t last = pad((size_t)max->slots * sizeof(int32_t));
    return layout(max, NULL, &a) + out_bytes(max) + table_bytes(max) + last;
}

static void place(struct pack *p, char *at)
{
    p->dev = at;
    at += p->up_bytes;
    p->out_dev = (struct sample_out *)at;
    at += out_bytes(&p->max);
    p->table = (int32_t *)at;
    p->last = (int32_t *)(at + table_bytes(&p->max));
}

void pack_open(struct pack *p, const struct pack_sizes *max, void *device)
{
    struct pack_arrays a;
    p->max = *max;
    p->up_bytes = layout(max, NULL, &a);
    for (int i = 0; i < RING; i++) {
        p->host[i] = xcalloc(1, p->up_bytes);
        p->out_host[i] = xcalloc((size_t)max->want, sizeof(struct sample_out));
        p->table_host[i] = xcalloc(1, table_bytes(max));
    }
    place(p, device);
}

struct pack pack_share(const struct pack *with, void *device)
{
    struct pack p = *with;
    place(&p, device);
    return p;
}

void pack_close(struct pack *p)
{
    for (int i = 0; i < RING; i++) {
        xfree(p->host[i]);
        xfree(p->out_host[i]);
        xfree(p->table_host[i]);
    }
}

struct pack_arrays pack_host(const struct pack *p, int ring)
{
    struct pack_arrays a;
    layout(&p->max, p->host[ring], &a);
    return a;
}

struct pack_arrays pack_dev(const struct pack *p)
{
    struct pack_arrays a;
    layout(&p->max, p->dev, &a);
    return a;
}

enum status pack_upload(const struct pack *p, int ring, struct queue *q, int n_bias)
{
    char *end = (char *)(pack_host(p, ring).bias + n_bias); /* biases lie last */
    return q->dev->backend->copy(q, p->dev, p->host[ring], (size_t)(end - p->host[ring]),
                                 COPY_TO_DEVICE);
}

enum status pack_table(const struct pack *p, int ring, struct queue *q,
                       const struct pack_pages *pages)
{
    size_t at = (size_t)pages->slot * (size_t)p->max.table_stride + (size_t)pages->first;
    size_t bytes = (size_t)(pages->n - pages->first) * sizeof *pages->page;
    memcpy(p->table_host[ring] + at, pages->page + pages->first, bytes);
    return q->dev->backend->copy(q, p->table + at, p->table_host[ring] + at, bytes, COPY_TO_DEVICE);
}

enum status pack_download(const struct pack *p, int ring, struct queue *q, int n_want)
{
    return q->dev->backend->copy(q, p->out_host[ring], p->out_dev,
                                 (size_t)n_want * sizeof(struct sample_out), COPY_TO_HOST);
}
