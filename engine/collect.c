/* collect.c - see collect.h. While it runs a matrix is known by where its bytes lie; its names
 * come from the model's placement at the end. Sums are doubles, rows in their order, so the file
 * does not depend on threads. */
#include "engine/collect.h"

#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/gguf_write.h"
#include "engine/load/outline.h"
#include "kernels/base/map.h"

struct entry {
    double *sum; /* [k] */
    int64_t k, rows;
};

struct collector {
    struct map *index; /* address of the packed matrix -> entry */
    struct entry *entry;
    int n;
};

struct collector *collect_new(void)
{
    struct collector *c = xcalloc(1, sizeof *c);

    c->index = map_new(256);
    return c;
}

void collect_free(struct collector *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n; i++)
        xfree(c->entry[i].sum);
    xfree(c->entry);
    map_free(c->index);
    xfree(c);
}

void collect_tap(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live)
{
    struct collector *c = ctx;
    int64_t k = x->shape[1], rows = live ? *live : x->shape[0];
    int32_t i = map_get(c->index, &w->data, sizeof w->data, -1);
    struct entry *e;

    if (i < 0) {
        i = c->n++;
        c->entry = xrealloc(c->entry, (size_t)c->n * sizeof *c->entry);
        c->entry[i] = (struct entry){xcalloc((size_t)k, sizeof(double)), k, 0};
        map_put(c->index, &w->data, sizeof w->data, i, -1);
    }
    e = &c->entry[i];
    for (int64_t r = 0; r < rows; r++) {
        const float *row = tensor_row(x, r);

        for (int64_t j = 0; j < k; j++)
            e->sum[j] += (double)row[j] * row[j];
    }
    e->rows += rows;
}

/* The matrix that a tensor of the file went into, or NULL: it was not used, or is no matrix. */
static const struct entry *entry_of(const struct collector *c, const struct placement *p,
                                    const struct ckpt_tensor *t)
{
    for (int i = 0; i < p->n; i++) {
        const struct bound *b = &p->bound[i];

        for (int j = 0; j < b->n_src; j++) {
            if (b->src[j] != t || (b->kind != WEIGHT_MATRIX && b->kind != WEIGHT_TABLE))
                continue;
            int32_t at = map_get(c->index, &b->dst->data, sizeof b->dst->data, -1);
            return at >= 0 ? &c->entry[at] : NULL;
        }
    }
    return NULL;
}

struct written { /* a tensor of the file of sums */
    const struct entry *e;
    int sums, count;
};

static int add_tensors(const struct collector *c, const struct model *m, const struct outline *o,
                       struct gguf_writer *w, struct written *out)
{
    int n = 0;

    for (int i = 0; i < o->n; i++) {
        const struct entry *e = entry_of(c, m->place, o->tensor[i].src);
        struct buf name = {0};

        if (!e)
            continue;
        buf_printf(&name, "%s.in_sum2", o->tensor[i].name);
        out[n].e = e;
        out[n].sums = gguf_add(w, name.data, DT_F32, 2, (int64_t[2]){1, e->k});
        buf_reset(&name);
        buf_printf(&name, "%s.counts", o->tensor[i].name);
        out[n++].count = gguf_add(w, name.data, DT_F32, 2, (int64_t[2]){1, 1});
        buf_clear(&name);
    }
    return n;
}

static enum status write_sums(struct gguf_writer *w, const struct written *t)
{
    float *sums = xmalloc((size_t)t->e->k * sizeof *sums), count = (float)t->e->rows;
    enum status s;

    for (int64_t j = 0; j < t->e->k; j++)
        sums[j] = (float)t->e->sum[j];
    s = gguf_write(w, t->sums, 0, sums, (size_t)t->e->k * sizeof *sums);
    xfree(sums);
    return s == OK ? gguf_write(w, t->count, 0, &count, sizeof count) : s;
}

enum status collect_write(const struct collector *c, const struct model *m,
                          const struct perplexity_result *r, const char *source, const char *path)
{
    struct bytes text = bytes_of(source);
    struct written *t;
    struct outline o;
    struct gguf_writer *w = NULL;
    enum status s = outline_open(&o, m->ckpt);
    int n = 0;

    t = xcalloc((size_t)o.n + 1, sizeof *t);
    if (s == OK)
        s = gguf_create(path, &w);
    if (s == OK) {
        gguf_put_text(w, "general.type", bytes_of("imatrix"));
        gguf_put_texts(w, "imatrix.datasets", &text, 1);
        gguf_put_u32(w, "imatrix.chunk_count", (uint32_t)r->windows);
        gguf_put_u32(w, "imatrix.chunk_size", (uint32_t)r->window);
        n = add_tensors(c, m, &o, w, t);
        s = gguf_start(w);
    }
    for (int i = 0; i < n && s == OK; i++)
        s = write_sums(w, &t[i]);
    if (s == OK)
        s = gguf_commit(w);
    gguf_close(w);
    outline_close(&o);
    xfree(t);
    return s;
}
