/* gguf.c - GGUF: magic, version, counts; keys with typed values; tensor descriptions; data.
 *
 *   u32 "GGUF"  u32 version  u64 n_tensors  u64 n_keys
 *   n_keys x    { string name, u32 type, value }         string: u64 length, bytes
 *   n_tensors x { string name, u32 ndim, u64 dim[ndim], u32 type, u64 offset }
 *   padding to general.alignment, then the data; offsets count from here
 *
 * Every number is foreign: it is compared with what is left of the file before it is used, so that
 * nothing is read outside it and no count makes us allocate more than it has bytes for. Dimensions
 * are stored innermost first; here they are turned round.
 *
 * Q2_0 is read in two forms. Its type number had blocks of 128 before it got those of 64, and only
 * the room up to the next tensor tells which; files of a later fork number the former 142 (PQ2_0).
 * A block of 128 becomes two of 64 that say the same, when it is loaded.
 *
 * A split checkpoint is several such files (split.c). The first has the keys; of the others only
 * those that concern their own file count.
 *
 * Tensors may lie in any order, but not in the same place: all of a file's together take no more
 * than it has, so that what is loaded, converted or copied of it is no more either. Who only wants
 * to look (c->partly) gets what stands before the first fault. */
#include "engine/load/gguf.h"

#include <string.h>

#include "engine/load/split.h"
#include "kernels/quant/q2_0.h"

enum { VERSION_LEAST = 2, VERSION_MOST = 3 };
/* Far above any model (a few thousand tensors), small enough to bound the tables. */
enum { MAX_KEYS = 1 << 16, MAX_TENSORS = 1 << 17 };
enum { ALIGNMENT_DEFAULT = 32, ALIGNMENT_LEAST = 8, ALIGNMENT_MOST = 1 << 20 };
/* The least a description can take: an empty name, the type, one byte or one dimension. */
enum { KEY_BYTES_LEAST = 8 + 4 + 1, TENSOR_BYTES_LEAST = 8 + 4 + 8 + 4 + 8 };
enum { TYPE_PQ2_0 = 142, TYPE_PTQ1_0 = 143 };
enum { WIDE_BLOCK = 2 * Q2_0_BLOCK, WIDE_BYTES = 2 * Q2_0_BYTES - 2 };
static const char wide[] = "Q2_0 in blocks of 128"; /* ckpt_tensor.made of such */

/* clang-format off */
static const struct { uint8_t bytes; enum value_kind kind; } type_info[N_GGUF_TYPE] = {
    [GGUF_U8]     = {1, VALUE_INT},
    [GGUF_I8]     = {1, VALUE_INT},
    [GGUF_U16]    = {2, VALUE_INT},
    [GGUF_I16]    = {2, VALUE_INT},
    [GGUF_U32]    = {4, VALUE_INT},
    [GGUF_I32]    = {4, VALUE_INT},
    [GGUF_F32]    = {4, VALUE_FLOAT},
    [GGUF_BOOL]   = {1, VALUE_BOOL},
    [GGUF_STRING] = {0, VALUE_STRING},
    [GGUF_ARRAY]  = {0, VALUE_ARRAY},
    [GGUF_U64]    = {8, VALUE_INT},
    [GGUF_I64]    = {8, VALUE_INT},
    [GGUF_F64]    = {8, VALUE_FLOAT},
};
/* clang-format on */

size_t gguf_type_bytes(enum gguf_type t)
{
    return type_info[t].bytes;
}

/* Where we are in the file. */
struct reader {
    const unsigned char *p;
    size_t size, at;
};

/* One file up to its keys. */
struct header {
    struct reader r;
    int file, version; /* index of the file; version of the format */
    struct ckpt_key *key;
    int n_keys, n_tensors;
};

static bool read_bytes(struct reader *r, void *out, size_t n)
{
    if (n > r->size - r->at)
        return false;
    memcpy(out, r->p + r->at, n);
    r->at += n;
    return true;
}

static bool read_u32(struct reader *r, uint32_t *out)
{
    return read_bytes(r, out, sizeof *out);
}

static bool read_u64(struct reader *r, uint64_t *out)
{
    return read_bytes(r, out, sizeof *out);
}

static bool read_string(struct reader *r, struct bytes *out)
{
    uint64_t n;

    if (!read_u64(r, &n) || n > r->size - r->at)
        return false;
    *out = (struct bytes){(const char *)r->p + r->at, (size_t)n};
    r->at += (size_t)n;
    return true;
}

/* One number of a fixed-size type. */
static void decode_number(uint32_t type, const void *p, struct value *v)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } n = {0};

    memcpy(&n, p, type_info[type].bytes);
    *v = (struct value){.kind = type_info[type].kind};
    switch (type) {
    case GGUF_U8:
        v->integer = n.u8;
        break;
    case GGUF_I8:
        v->integer = n.i8;
        break;
    case GGUF_U16:
        v->integer = n.u16;
        break;
    case GGUF_I16:
        v->integer = n.i16;
        break;
    case GGUF_U32:
        v->integer = n.u32;
        break;
    case GGUF_I32:
        v->integer = n.i32;
        break;
    case GGUF_BOOL:
        v->integer = n.u8 != 0;
        break;
    case GGUF_U64:
        v->integer = n.u64 > INT64_MAX ? INT64_MAX : (int64_t)n.u64;
        break;
    case GGUF_I64:
        v->integer = n.i64;
        break;
    case GGUF_F32:
        v->number = n.f32;
        return;
    default:
        v->number = n.f64;
        return;
    }
    v->number = (double)v->integer;
}

static bool array_at(const struct value *array, int64_t i, struct value *out)
{
    size_t bytes;

    if (array->kind != VALUE_ARRAY || i < 0 || i >= array->n)
        return false;
    bytes = type_info[array->elem_type].bytes;
    if (bytes == 0)
        return false;
    decode_number(array->elem_type, array->text.p + (size_t)i * bytes, out);
    return true;
}

static bool array_strings(const struct value *array, struct bytes *out)
{
    struct reader r;

    if (array->kind != VALUE_ARRAY || array->elem != VALUE_STRING)
        return false;
    r = (struct reader){(const unsigned char *)array->text.p, array->text.n, 0};
    for (int64_t i = 0; i < array->n; i++) {
        if (!read_string(&r, &out[i]))
            return false;
    }
    return true;
}

static enum status read_array(struct reader *r, struct value *v)
{
    uint32_t type;
    uint64_t n;
    size_t start;

    if (!read_u32(r, &type) || !read_u64(r, &n))
        return fail(ERR_FORMAT, "the file ends inside its value");
    if (type >= N_GGUF_TYPE)
        return fail(ERR_FORMAT, "array of unknown type %u", type);
    if (type == GGUF_ARRAY)
        return fail(ERR_UNSUPPORTED, "arrays of arrays are not supported");
    start = r->at;
    if (type == GGUF_STRING) {
        struct bytes skipped;

        for (uint64_t i = 0; i < n; i++) {
            if (!read_string(r, &skipped))
                return fail(ERR_FORMAT, "the file ends inside element %llu of %llu",
                            (unsigned long long)i, (unsigned long long)n);
        }
    } else {
        if (n > (r->size - r->at) / type_info[type].bytes)
            return fail(ERR_FORMAT, "claims %llu elements, the file ends before",
                        (unsigned long long)n);
        r->at += (size_t)n * type_info[type].bytes;
    }
    *v = (struct value){.kind = VALUE_ARRAY, .elem = type_info[type].kind, .elem_type = type};
    v->n = (int64_t)n;
    v->text = (struct bytes){(const char *)r->p + start, r->at - start};
    return OK;
}

static enum status read_value(struct reader *r, struct value *v)
{
    uint32_t type;
    unsigned char raw[8];

    if (!read_u32(r, &type))
        return fail(ERR_FORMAT, "the file ends inside its value");
    if (type >= N_GGUF_TYPE)
        return fail(ERR_FORMAT, "unknown type %u", type);
    if (type == GGUF_ARRAY)
        return read_array(r, v);
    if (type == GGUF_STRING) {
        *v = (struct value){.kind = VALUE_STRING};
        return read_string(r, &v->text) ? OK : fail(ERR_FORMAT, "the file ends inside its value");
    }
    if (!read_bytes(r, raw, type_info[type].bytes))
        return fail(ERR_FORMAT, "the file ends inside its value");
    decode_number(type, raw, v);
    v->elem_type = type;
    v->text =
        (struct bytes){(const char *)r->p + r->at - type_info[type].bytes, type_info[type].bytes};
    return OK;
}

static enum status read_name(struct checkpoint *c, struct reader *r, const char **out)
{
    struct bytes s;

    if (!read_string(r, &s))
        return fail(ERR_FORMAT, "the file ends inside its name");
    return checkpoint_copy_name(c, s, out);
}

static enum status read_keys(struct checkpoint *c, struct header *h)
{
    for (int i = 0; i < h->n_keys; i++) {
        struct ckpt_key *k = &h->key[i];
        enum status s = read_name(c, &h->r, &k->name);

        s = s == OK ? read_value(&h->r, &k->value) : s;
        if (s == OK)
            continue;
        if (k->name)
            fail_in(s, "key %s", k->name);
        else
            fail_in(s, "key %d of %d", i + 1, h->n_keys);
        h->n_keys = i; /* whoever only looks has these, and does not know where tensors begin */
        h->n_tensors = 0;
        return s;
    }
    return OK;
}

/* Dimensions, innermost first in the file; their product must stay countable. */
static enum status read_shape(struct reader *r, struct ckpt_tensor *t)
{
    uint64_t dim[4], count = 1;
    uint32_t ndim;

    if (!read_u32(r, &ndim))
        return fail(ERR_FORMAT, "the file ends inside its shape");
    if (ndim < 1 || ndim > 4)
        return fail(ERR_FORMAT, "has %u dimensions, expected 1 to 4", ndim);
    for (uint32_t i = 0; i < ndim; i++) {
        if (!read_u64(r, &dim[i]))
            return fail(ERR_FORMAT, "the file ends inside its shape");
        if (dim[i] < 1 || dim[i] > INT32_MAX)
            return fail(ERR_FORMAT, "dimension %u is %llu, expected 1 to %d", i,
                        (unsigned long long)dim[i], INT32_MAX);
        if (dim[i] > (uint64_t)INT64_MAX / 16 / count)
            return fail(ERR_FORMAT, "its dimensions multiply to more than 2^59 elements");
        count *= dim[i];
    }
    t->ndim = (uint8_t)ndim;
    for (uint32_t i = 0; i < ndim; i++)
        t->shape[i] = (int64_t)dim[ndim - 1 - i];
    return OK;
}

static const char *type_name(uint32_t type)
{
    return type == TYPE_PQ2_0 ? "PQ2_0" : type == TYPE_PTQ1_0 ? "PTQ1_0" : dtype_gguf_name(type);
}

static enum status read_tensor(struct reader *r, struct ckpt_tensor *t, size_t alignment)
{
    uint64_t offset;

    TRY(read_shape(r, t));
    if (!read_u32(r, &t->type_number) || !read_u64(r, &offset))
        return fail(ERR_FORMAT, "the file ends inside its description");
    if (!type_name(t->type_number))
        return fail(ERR_FORMAT, "unknown type %u", t->type_number);
    if (offset % alignment != 0)
        return fail(ERR_FORMAT, "offset %llu is not a multiple of the alignment %zu",
                    (unsigned long long)offset, alignment);
    t->dtype = t->type_number == TYPE_PQ2_0 ? DT_Q2_0 : dtype_from_gguf(t->type_number);
    t->made = t->type_number == TYPE_PQ2_0 ? wide : NULL;
    t->offset = (size_t)offset;
    return OK;
}

/* Is it Q2_0 in blocks of 128? As wide as the file is behind it, or up to its neighbour `next`
 * (NULL: it is the last), blocks of 64 would not fit and those of 128 do. Offsets count from the
 * data; files have their tensors in order. */
static bool is_wide(const struct ckpt_tensor *t, const struct ckpt_tensor *next, size_t room,
                    uint64_t elements)
{
    if (t->dtype != DT_Q2_0 || t->made || t->shape[t->ndim - 1] % WIDE_BLOCK != 0)
        return t->made != NULL;
    if (next && next->offset > t->offset && next->offset - t->offset < room)
        room = next->offset - t->offset;
    return elements / Q2_0_BLOCK > room / Q2_0_BYTES && elements / WIDE_BLOCK <= room / WIDE_BYTES;
}

/* The tensor's bytes, and that they lie inside its file; `data` is where the data begins, *left
 * what the tensors so far have left of it. */
static enum status place_tensor(const struct reader *r, struct ckpt_tensor *t,
                                const struct ckpt_tensor *next, size_t data, size_t *left)
{
    const struct dtype_info *d;
    uint64_t blocks = 1;
    size_t room, block, bytes, first = t->offset;

    if (data > r->size || t->offset > r->size - data)
        return fail(ERR_FORMAT,
                    "offset %zu lies outside the file of %zu bytes, whose data begins at byte %zu",
                    t->offset, r->size, data);
    room = r->size - data - t->offset;
    for (int i = 0; i < t->ndim; i++)
        blocks *= (uint64_t)t->shape[i];
    t->made = is_wide(t, next, room, blocks) ? wide : NULL;
    t->offset += data;
    if (t->dtype < 0) { /* its size is not known here: what follows, at most */
        t->bytes = room;
        return OK;
    }
    d = dtype_info((enum dtype)t->dtype);
    block = t->made ? WIDE_BLOCK : (size_t)d->block;
    bytes = t->made ? WIDE_BYTES : (size_t)d->bytes;
    if ((size_t)t->shape[t->ndim - 1] % block != 0)
        return fail(ERR_FORMAT,
                    "its innermost dimension %lld is not a multiple of %zu, the block "
                    "of %s",
                    (long long)t->shape[t->ndim - 1], block, d->name);
    blocks /= block;
    if (blocks > room / bytes)
        return fail(ERR_FORMAT, "needs %.0f bytes from byte %zu on, the file ends at %zu",
                    (double)blocks * (double)bytes, t->offset, r->size);
    if (next && next->offset > first && blocks > (next->offset - first) / bytes)
        return fail(ERR_FORMAT, "needs %.0f bytes, tensor %s begins %zu behind it",
                    (double)blocks * (double)bytes, next->name, next->offset - first);
    if (blocks > *left / bytes)
        return fail(ERR_FORMAT,
                    "the tensors up to it need more bytes than the file has: they overlap");
    *left -= (size_t)blocks * bytes;
    t->bytes = (size_t)blocks * (t->made ? 2 * (size_t)d->bytes : bytes);
    return OK;
}

static enum status read_alignment(const struct header *h, size_t *out)
{
    const struct value *v = NULL;

    for (int i = 0; i < h->n_keys; i++) {
        if (strcmp(h->key[i].name, "general.alignment") == 0)
            v = &h->key[i].value;
    }
    *out = ALIGNMENT_DEFAULT;
    if (!v)
        return OK;
    if (v->kind != VALUE_INT || v->integer < ALIGNMENT_LEAST || v->integer > ALIGNMENT_MOST ||
        (v->integer & (v->integer - 1)) != 0)
        return fail(ERR_FORMAT, "key general.alignment: expected a power of two from %d to %d",
                    ALIGNMENT_LEAST, ALIGNMENT_MOST);
    *out = (size_t)v->integer;
    return OK;
}

/* The tensors of one file into t[h->n_tensors]; where there is a fault, those before it. */
static enum status read_tensors(struct checkpoint *c, struct header *h, struct ckpt_tensor *t)
{
    size_t alignment, data, left;
    int n = h->n_tensors;

    h->n_tensors = 0;
    TRY(read_alignment(h, &alignment));
    for (int i = 0; i < n; i++) {
        enum status s = read_name(c, &h->r, &t[i].name);

        if (s != OK)
            return fail_in(s, "tensor %d of %d", i + 1, n);
        s = read_tensor(&h->r, &t[i], alignment);
        if (s != OK)
            return fail_in(s, "tensor %s", t[i].name);
        t[i].file = h->file;
    }
    data = (h->r.at + alignment - 1) / alignment * alignment;
    left = data < h->r.size ? h->r.size - data : 0;
    for (; h->n_tensors < n; h->n_tensors++) {
        struct ckpt_tensor *at = &t[h->n_tensors];
        enum status s = place_tensor(&h->r, at, h->n_tensors + 1 < n ? at + 1 : NULL, data, &left);

        if (s != OK)
            return fail_in(s, "tensor %s", at->name);
    }
    return OK;
}

static enum status read_counts(struct checkpoint *c, struct header *h)
{
    uint64_t n_tensors, n_keys;
    struct reader *r = &h->r;
    size_t left;

    if (!read_u64(r, &n_tensors) || !read_u64(r, &n_keys))
        return fail(ERR_FORMAT, "the file ends inside its header");
    left = r->size - r->at;
    if (n_keys > MAX_KEYS || n_keys > left / KEY_BYTES_LEAST)
        return fail(ERR_FORMAT, "claims %llu keys, which the file of %zu bytes cannot hold",
                    (unsigned long long)n_keys, r->size);
    if (n_tensors > MAX_TENSORS || n_tensors > left / TENSOR_BYTES_LEAST)
        return fail(ERR_FORMAT, "claims %llu tensors, which the file of %zu bytes cannot hold",
                    (unsigned long long)n_tensors, r->size);
    h->n_keys = (int)n_keys;
    h->n_tensors = (int)n_tensors;
    h->key = arena_calloc(&c->arena, (size_t)n_keys * sizeof *h->key);
    return h->key ? OK : fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

/* The newest of c's files up to its keys. */
static enum status read_header(struct checkpoint *c, struct header *h)
{
    const struct file_map *m = &c->file[c->n_files - 1];
    uint32_t version;

    *h = (struct header){.r = {m->data, m->size, 4}, .file = c->n_files - 1};
    if (!read_u32(&h->r, &version))
        return fail(ERR_FORMAT, "the file ends inside its header");
    if (version != 0 && (version & 0xffff) == 0)
        return fail(ERR_UNSUPPORTED, "is a big-endian GGUF file; only little-endian is supported");
    if (version < VERSION_LEAST || version > VERSION_MOST)
        return fail(ERR_UNSUPPORTED, "has GGUF version %u; versions %d to %d are supported",
                    version, VERSION_LEAST, VERSION_MOST);
    h->version = (int)version;
    TRY(read_counts(c, h));
    return read_keys(c, h);
}

static bool gguf_match(struct bytes file)
{
    return file.n >= 4 && memcmp(file.p, "GGUF", 4) == 0;
}

/* Part `no` of the checkpoint that `first` begins. */
static enum status read_part(struct checkpoint *c, const struct split *first, int no,
                             struct header *h)
{
    const struct file_map *m;
    struct split own;

    m = &c->file[c->n_files - 1];
    if (!gguf_match((struct bytes){(const char *)m->data, m->size}))
        return fail(ERR_FORMAT, "is not a GGUF file");
    TRY(read_header(c, h));
    TRY(split_read(h->key, h->n_keys, &own));
    return split_belongs(first, &own, no);
}

/* Opens the other parts and reads them up to their keys. */
static enum status read_parts(struct checkpoint *c, const struct split *first, struct header *h)
{
    for (int i = 1; i < first->count; i++) {
        enum status s;
        char *path;

        TRY(split_path(c->path, first, i, &path));
        s = checkpoint_add_file(c, path);
        if (s == OK) {
            s = read_part(c, first, i, &h[i]);
            if (s != OK)
                fail_in(s, "%s", path);
        }
        xfree(path);
        if (s != OK)
            return fail_in(s, "part %d of %d", i + 1, first->count);
    }
    return OK;
}

/* All tensors of all parts, in one table. */
static enum status read_tables(struct checkpoint *c, const struct split *split, struct header *h)
{
    int64_t n = 0;

    for (int i = 0; i < split->count; i++)
        n += h[i].n_tensors;
    if (split->tensors >= 0 && split->tensors != n)
        return fail(ERR_FORMAT, "key split.tensors.count is %lld, but there are %lld tensors",
                    (long long)split->tensors, (long long)n);
    if (n > MAX_TENSORS)
        return fail(ERR_FORMAT, "claims %lld tensors, expected at most %d", (long long)n,
                    MAX_TENSORS);
    c->tensor = arena_calloc(&c->arena, (size_t)n * sizeof *c->tensor);
    if (!c->tensor)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    for (int i = 0; i < split->count; i++) {
        enum status s = read_tensors(c, &h[i], c->tensor + c->n_tensors);

        c->n_tensors += h[i].n_tensors;
        if (s != OK)
            return split->count > 1 ? fail_in(s, "part %d of %d", i + 1, split->count) : s;
    }
    return OK;
}

/* For who only looks a fault is what there is to tell: the first one stays. */
static enum status unless_partly(struct checkpoint *c, enum status s)
{
    if (s == OK || !c->partly)
        return s;
    if (!c->refusal)
        c->refusal = arena_printf(&c->arena, "%s", fail_text());
    return c->refusal ? OK : s;
}

static enum status read_first(struct checkpoint *c, struct header *first, struct split *split)
{
    enum status s = read_header(c, first);

    c->version = first->version;
    c->key = first->key;
    c->n_keys = first->n_keys;
    TRY(s);
    TRY(split_read(first->key, first->n_keys, split));
    if (split->no != 0)
        return fail(ERR_UNSUPPORTED, "is part %d of %d of a split checkpoint; name part 1",
                    split->no + 1, split->count);
    return OK;
}

static enum status gguf_read(struct checkpoint *c)
{
    static const struct split alone = {0, 1, -1};
    struct header first = {.n_keys = 0}, *h;
    struct split split = alone;
    enum status s = read_first(c, &first, &split);

    TRY(unless_partly(c, s));
    split = s == OK ? split : alone;
    h = arena_calloc(&c->arena, (size_t)split.count * sizeof *h);
    if (!h)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    h[0] = first;
    s = read_parts(c, &split, h);
    TRY(unless_partly(c, s));
    return unless_partly(c, read_tables(c, s == OK ? &split : &alone, h));
}

/* Blocks of 128 as twice as many of 64. */
static enum status gguf_fill(const struct checkpoint *c, const struct ckpt_tensor *t, void *out)
{
    const unsigned char *p = c->file[t->file].data + t->offset;
    unsigned char *q = out, *end = q + t->bytes;
    enum { SCALE = 2, HALF = Q2_0_BYTES - SCALE };

    for (; q < end; p += WIDE_BYTES, q += 2 * Q2_0_BYTES) {
        memcpy(q, p, SCALE + HALF);
        memcpy(q + Q2_0_BYTES, p, SCALE);
        memcpy(q + Q2_0_BYTES + SCALE, p + SCALE + HALF, HALF);
    }
    return OK;
}

static const char *gguf_packing(const struct ckpt_tensor *t)
{
    return t->made;
}

const struct checkpoint_format gguf_format = {
    .name = "gguf",
    .names = NAMES_GGUF,
    .match = gguf_match,
    .read = gguf_read,
    .at = array_at,
    .strings = array_strings,
    .fill = gguf_fill,
    .type_name = type_name,
    .packing = gguf_packing,
};
