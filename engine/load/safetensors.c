/* safetensors.c - u64 n, n bytes of JSON, data:
 *
 *   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
 *    "__metadata__": {"key": "text"}}                  offsets count from behind the JSON
 *
 * Every number is foreign and compared with the file's size before it is used. A scalar (shape [])
 * becomes a vector of one; of more than four dimensions the first are multiplied into one. */
#include "engine/load/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "engine/load/scan.h"

enum { HEAD = 8, MAX_HEADER = 100 << 20 /* the format's own limit */, MAX_TENSORS = 1 << 17 };

/* clang-format off */
static const struct { const char *name; int bytes, dtype; } types[N_ST_TYPE] = {
    [ST_F64]     = {"F64",     8, DT_F64},
    [ST_F32]     = {"F32",     4, DT_F32},
    [ST_F16]     = {"F16",     2, DT_F16},
    [ST_BF16]    = {"BF16",    2, DT_BF16},
    [ST_F8_E4M3] = {"F8_E4M3", 1, -1},
    [ST_F8_E5M2] = {"F8_E5M2", 1, -1},
    [ST_F8_E8M0] = {"F8_E8M0", 1, -1},
    [ST_I64]     = {"I64",     8, DT_I64},
    [ST_I32]     = {"I32",     4, DT_I32},
    [ST_I16]     = {"I16",     2, DT_I16},
    [ST_I8]      = {"I8",      1, DT_I8},
    [ST_U64]     = {"U64",     8, -1},
    [ST_U32]     = {"U32",     4, -1},
    [ST_U16]     = {"U16",     2, -1},
    [ST_U8]      = {"U8",      1, DT_U8},
    [ST_BOOL]    = {"BOOL",    1, DT_U8},
};
/* clang-format on */

const char *safetensors_type_name(uint32_t type)
{
    return type < N_ST_TYPE ? types[type].name : NULL;
}

int safetensors_type_bytes(uint32_t type)
{
    return types[type].bytes;
}

static uint64_t header_bytes(struct bytes file)
{
    uint64_t n = 0;

    for (int i = HEAD - 1; i >= 0; i--)
        n = n << 8 | (unsigned char)file.p[i];
    return n;
}

/* A file cut short is recognised too, so that it can be refused by what it lacks. */
bool safetensors_match(struct bytes file)
{
    return file.n > HEAD && file.p[HEAD] == '{' && header_bytes(file) <= MAX_HEADER;
}

static enum status read_type(struct scan *s, struct ckpt_tensor *t)
{
    struct bytes name;

    TRY(scan_string(s, &name));
    for (uint32_t i = 0; i < N_ST_TYPE; i++) {
        if (bytes_equal(name, types[i].name)) {
            t->type_number = i;
            t->dtype = types[i].dtype;
            return OK;
        }
    }
    return fail(ERR_UNSUPPORTED, "dtype \"%.*s\" is not supported",
                (int)(name.n < 32 ? name.n : 32), name.p);
}

static enum status read_shape(struct scan *s, struct ckpt_tensor *t)
{
    int64_t count = 1, n = 0;
    bool more;

    TRY(scan_expect(s, '['));
    for (;; n++) {
        uint64_t d;

        TRY(scan_next(s, ']', n, &more));
        if (!more)
            break;
        TRY(scan_count(s, &d));
        if (d > INT32_MAX || (d && count > INT64_MAX / 16 / (int64_t)d))
            return fail(ERR_FORMAT, "its shape has a dimension of %llu", (unsigned long long)d);
        count *= d ? (int64_t)d : 1;
        if (t->ndim == 4) { /* the first two become one */
            t->shape[0] *= t->shape[1];
            memmove(t->shape + 1, t->shape + 2, 2 * sizeof t->shape[0]);
            t->ndim = 3;
        }
        t->shape[t->ndim++] = (int64_t)d;
    }
    if (t->ndim == 0)
        t->shape[t->ndim++] = 1;
    return OK;
}

static enum status read_offsets(struct scan *s, struct ckpt_tensor *t, size_t data)
{
    uint64_t begin, end;

    TRY(scan_expect(s, '['));
    TRY(scan_count(s, &begin));
    TRY(scan_expect(s, ','));
    TRY(scan_count(s, &end));
    TRY(scan_expect(s, ']'));
    if (begin > end || end > data)
        return fail(ERR_FORMAT, "data_offsets [%llu, %llu] lie outside the data of %zu bytes",
                    (unsigned long long)begin, (unsigned long long)end, data);
    t->offset = (size_t)begin;
    t->bytes = (size_t)(end - begin);
    return OK;
}

/* One tensor's description; `data`: bytes behind the header. */
static enum status read_tensor(struct scan *s, struct ckpt_tensor *t, size_t data)
{
    int seen[3] = {0};
    uint64_t bytes;
    bool more;

    TRY(scan_expect(s, '{'));
    for (int64_t n = 0;; n++) {
        struct bytes key;

        TRY(scan_next(s, '}', n, &more));
        if (!more)
            break;
        TRY(scan_key(s, &key));
        if (bytes_equal(key, "dtype") && !seen[0]++)
            TRY(read_type(s, t));
        else if (bytes_equal(key, "shape") && !seen[1]++)
            TRY(read_shape(s, t));
        else if (bytes_equal(key, "data_offsets") && !seen[2]++)
            TRY(read_offsets(s, t, data));
        else
            return fail(ERR_FORMAT, "\"%.*s\" is not a field of a tensor, or stands twice",
                        (int)(key.n < 32 ? key.n : 32), key.p);
    }
    if (!seen[0] || !seen[1] || !seen[2])
        return fail(ERR_FORMAT, "needs dtype, shape and data_offsets");
    bytes = (uint64_t)types[t->type_number].bytes;
    for (int i = 0; i < t->ndim; i++)
        bytes *= (uint64_t)t->shape[i];
    if (bytes != t->bytes)
        return fail(ERR_FORMAT, "its shape needs %llu bytes, its data_offsets span %zu",
                    (unsigned long long)bytes, t->bytes);
    return OK;
}

static struct ckpt_tensor *add(struct st_table *t)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->tensor = xrealloc(t->tensor, (size_t)t->cap * sizeof *t->tensor);
    }
    t->tensor[t->n] = (struct ckpt_tensor){0};
    return &t->tensor[t->n++];
}

static enum status read_header(struct checkpoint *c, struct scan *s, size_t data,
                               struct st_table *t)
{
    bool more;

    TRY(scan_expect(s, '{'));
    for (int64_t n = 0;; n++) {
        struct ckpt_tensor *one;
        struct bytes key;
        enum status status;

        TRY(scan_next(s, '}', n, &more));
        if (!more)
            return scan_end(s);
        TRY(scan_key(s, &key));
        if (bytes_equal(key, "__metadata__")) {
            TRY(scan_skip(s));
            continue;
        }
        if (t->n == MAX_TENSORS)
            return fail(ERR_TOO_LARGE, "has more than %d tensors", MAX_TENSORS);
        one = add(t);
        status = checkpoint_copy_name(c, key, &one->name);
        if (status != OK)
            return fail_in(status, "tensor %d", t->n);
        status = read_tensor(s, one, data);
        if (status != OK)
            return fail_in(status, "tensor %s", one->name);
    }
}

static int by_offset(const void *a, const void *b)
{
    const struct ckpt_tensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* In order of offset each begins where the one before ends; the last ends with the data. */
static enum status check_cover(struct ckpt_tensor *t, int n, size_t data)
{
    size_t at = 0;

    qsort(t, (size_t)n, sizeof *t, by_offset);
    for (int i = 0; i < n; i++) {
        if (t[i].offset != at)
            return fail(ERR_FORMAT, "tensor %s begins at byte %zu of the data, %s ends at %zu",
                        t[i].name, t[i].offset, i ? t[i - 1].name : "the header", at);
        at += t[i].bytes;
    }
    if (at != data)
        return fail(ERR_FORMAT, "its tensors end at byte %zu of the data, the file has %zu", at,
                    data);
    return OK;
}

enum status safetensors_read(struct checkpoint *c, int file, struct st_table *t)
{
    const struct file_map *m = &c->file[file];
    struct bytes all = {(const char *)m->data, m->size};
    int first = t->n;
    uint64_t n;
    size_t data;

    if (all.n < HEAD + 2)
        return fail(ERR_FORMAT, "the file of %zu bytes ends inside its header", all.n);
    n = header_bytes(all);
    if (n > MAX_HEADER || n > all.n - HEAD)
        return fail(ERR_FORMAT, "claims a header of %llu bytes, the file has %zu",
                    (unsigned long long)n, all.n);
    data = all.n - HEAD - (size_t)n;
    TRY(read_header(c, &(struct scan){all.p + HEAD, (size_t)n, 0}, data, t));
    if (t->n > first)
        TRY(check_cover(t->tensor + first, t->n - first, data));
    for (int i = first; i < t->n; i++) {
        t->tensor[i].file = file;
        t->tensor[i].offset += HEAD + (size_t)n;
    }
    return OK;
}

enum status
safetensors_index(struct bytes json,
                  enum status (*each)(void *ctx, struct bytes tensor, struct bytes file), void *ctx)
{
    struct scan s = {json.p, json.n, 0};
    struct bytes key, tensor, file;
    bool more, found = false;

    TRY(scan_expect(&s, '{'));
    for (int64_t n = 0;; n++) {
        TRY(scan_next(&s, '}', n, &more));
        if (!more)
            break;
        TRY(scan_key(&s, &key));
        if (!bytes_equal(key, "weight_map")) {
            TRY(scan_skip(&s));
            continue;
        }
        found = true;
        TRY(scan_expect(&s, '{'));
        for (int64_t i = 0;; i++) {
            TRY(scan_next(&s, '}', i, &more));
            if (!more)
                break;
            TRY(scan_key(&s, &tensor));
            TRY(scan_string(&s, &file));
            TRY(each(ctx, tensor, file));
        }
    }
    TRY(scan_end(&s));
    return found ? OK : fail(ERR_FORMAT, "has no weight_map");
}
