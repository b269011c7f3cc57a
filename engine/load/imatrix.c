/* imatrix.c - two file formats, one meaning.
 *
 * .dat:  i32 entries, then entries x { i32 length, name, i32 calls, i32 n, f32 sums[n] }, then
 *        maybe i32 chunks and the name of the text. Sums are means times calls.
 * GGUF:  general.type "imatrix"; for each tensor NAME: NAME.in_sum2 [matrices, columns] sums of
 *        squares and NAME.counts [matrices], both f32.
 *
 * Both are foreign: every count is compared with the bytes that are left. A column that was never
 * used has sum 0; it keeps a thousandth of the mean, since a weight nobody asked for must still
 * become a number near itself. */
#include "engine/load/imatrix.h"

#include <math.h>
#include <string.h>

#include "engine/load/checkpoint.h"
#include "kernels/base/map.h"

enum { ENTRIES_MOST = 1 << 17, NAME_MOST = 1024 };
static const float least_share = 1e-3f;

struct entry {
    float *value; /* [n] */
    int64_t n;
};

struct imatrix {
    struct map *index; /* name -> entry */
    struct entry *entry;
    int n, cap;
    int64_t chunks;
};

static enum status add_entry(struct imatrix *m, struct bytes name, struct entry e)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->entry = xrealloc(m->entry, (size_t)m->cap * sizeof *m->entry);
    }
    m->entry[m->n] = e;
    if (map_put(m->index, name.p, name.n, m->n++, -1) >= 0)
        return fail(ERR_FORMAT, "entry %.*s stands twice", (int)name.n, name.p);
    return OK;
}

/* Divides by the mean and lifts what is near zero. A matrix that was never used counts evenly. */
static enum status level(struct entry *e, int64_t first, int64_t n)
{
    double sum = 0;

    for (int64_t i = first; i < first + n; i++) {
        if (!isfinite(e->value[i]) || e->value[i] < 0)
            return fail(ERR_FORMAT, "holds a number that is no sum of squares");
        sum += e->value[i];
    }
    for (int64_t i = first; i < first + n; i++) {
        float share = sum > 0 ? (float)(e->value[i] * (double)n / sum) : 1;

        e->value[i] = share < least_share ? least_share : share;
    }
    return OK;
}

/* ---- .dat ------------------------------------------------------------------------------------ */

struct reader {
    const char *p;
    size_t left;
};

static bool take(struct reader *r, void *out, size_t n)
{
    if (n > r->left)
        return false;
    if (out)
        memcpy(out, r->p, n);
    r->p += n;
    r->left -= n;
    return true;
}

static enum status read_entry(struct imatrix *m, struct reader *r)
{
    int32_t length, calls, n;
    struct bytes name;
    struct entry e;
    enum status s;

    if (!take(r, &length, sizeof length) || length < 1 || length > NAME_MOST ||
        (size_t)length > r->left)
        return fail(ERR_FORMAT, "the file ends inside a name");
    name = (struct bytes){r->p, (size_t)length};
    take(r, NULL, (size_t)length);
    if (!take(r, &calls, sizeof calls) || !take(r, &n, sizeof n) || n < 1 ||
        (size_t)n > r->left / sizeof(float))
        return fail(ERR_FORMAT, "entry %.*s: the file ends inside it", (int)name.n, name.p);
    e = (struct entry){xmalloc((size_t)n * sizeof(float)), n};
    take(r, e.value, (size_t)n * sizeof(float));
    s = add_entry(m, name, e);
    return s == OK ? level(&m->entry[m->n - 1], 0, n) : s;
}

static enum status read_dat(struct imatrix *m, struct bytes file)
{
    struct reader r = {file.p, file.n};
    int32_t n, chunks;

    if (!take(&r, &n, sizeof n) || n < 1 || n > ENTRIES_MOST)
        return fail(ERR_FORMAT, "is no importance matrix");
    for (int i = 0; i < n; i++) {
        enum status s = read_entry(m, &r);

        if (s != OK)
            return fail_in(s, "entry %d of %d", i + 1, n);
    }
    if (take(&r, &chunks, sizeof chunks) && chunks > 0)
        m->chunks = chunks;
    return OK;
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

static const float *floats(const struct checkpoint *c, const struct ckpt_tensor *t, int64_t *n)
{
    *n = t ? (int64_t)(t->bytes / sizeof(float)) : 0;
    return t && t->dtype == DT_F32 ? checkpoint_view(c, t).data : NULL;
}

/* One tensor's sums; others than NAME.in_sum2 are passed over. */
static enum status read_sums(struct imatrix *m, const struct checkpoint *c,
                             const struct ckpt_tensor *t)
{
    static const char suffix[] = ".in_sum2";
    size_t length = strlen(t->name), tail = sizeof suffix - 1;
    char counts_name[NAME_MOST + 16];
    const float *sums, *counts;
    int64_t n, n_counts;
    struct entry e;

    if (length <= tail || strcmp(t->name + length - tail, suffix) != 0)
        return OK;
    length -= tail;
    memcpy(counts_name, t->name, length);
    memcpy(counts_name + length, ".counts", sizeof ".counts");
    sums = floats(c, t, &n);
    counts = floats(c, checkpoint_tensor(c, counts_name), &n_counts);
    if (!sums || !counts || n_counts < 1 || n % n_counts != 0)
        return fail(ERR_FORMAT, "expected sums in f32 and their counts in %s", counts_name);
    e = (struct entry){xmalloc((size_t)n * sizeof(float)), n};
    memcpy(e.value, sums, (size_t)n * sizeof(float));
    TRY(add_entry(m, (struct bytes){t->name, length}, e));
    for (int64_t i = 0; i < n_counts; i++) /* the count itself falls out when levelled */
        TRY(level(&m->entry[m->n - 1], i * (n / n_counts), n / n_counts));
    return OK;
}

static enum status read_gguf(struct imatrix *m, const char *path, struct bytes file)
{
    struct ckpt_lent lent = {path, file};
    const struct value *v;
    struct checkpoint *c;
    enum status s = OK;

    TRY(checkpoint_borrow(&lent, 1, &c));
    v = checkpoint_key(c, "general.type");
    if (!v || v->kind != VALUE_STRING || !bytes_equal(v->text, "imatrix"))
        s = fail(ERR_FORMAT, "is a GGUF file, but no importance matrix");
    for (int i = 0; i < c->n_tensors && s == OK; i++) {
        s = read_sums(m, c, &c->tensor[i]);
        if (s != OK)
            fail_in(s, "tensor %s", c->tensor[i].name);
    }
    v = checkpoint_key(c, "imatrix.chunk_count");
    m->chunks = v && v->kind == VALUE_INT ? v->integer : 0;
    checkpoint_close(c);
    return s;
}

/* ---- use ------------------------------------------------------------------------------------- */

enum status imatrix_read(const char *path, struct bytes file, struct imatrix **out)
{
    struct imatrix *m = xcalloc(1, sizeof *m);
    bool gguf = file.n >= 4 && memcmp(file.p, "GGUF", 4) == 0;
    enum status s;

    m->index = map_new(256);
    s = gguf ? read_gguf(m, path, file) : read_dat(m, file);
    if (s == OK && m->n == 0)
        s = fail(ERR_FORMAT, "holds no entry");
    *out = m;
    if (s != OK) {
        imatrix_close(m);
        *out = NULL;
        return fail_in(s, "%s", path);
    }
    return OK;
}

enum status imatrix_open(const char *path, struct imatrix **out)
{
    struct file_map m;
    enum status s;

    TRY(file_map_open(path, &m));
    s = imatrix_read(path, (struct bytes){(const char *)m.data, m.size}, out);
    file_map_close(&m);
    return s;
}

void imatrix_close(struct imatrix *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n; i++)
        xfree(m->entry[i].value);
    xfree(m->entry);
    map_free(m->index);
    xfree(m);
}

enum status imatrix_get(const struct imatrix *m, const char *name, int64_t matrices,
                        int64_t columns, const float **out)
{
    int32_t i = map_get(m->index, name, strlen(name), -1);

    *out = NULL;
    if (i < 0)
        return OK;
    if (m->entry[i].n != matrices * columns)
        return fail(ERR_FORMAT, "the importance matrix has %lld numbers for it, expected %lld",
                    (long long)m->entry[i].n, (long long)(matrices * columns));
    *out = m->entry[i].value;
    return OK;
}

int imatrix_entries(const struct imatrix *m)
{
    return m->n;
}

int64_t imatrix_chunks(const struct imatrix *m)
{
    return m->chunks;
}
