/* ops.c - the door to every backend: checks an op's contract, then runs it or composes it.
 *
 * A violation is a fault of the caller in this program, never of a client: ERR_INTERNAL, with the
 * op and the argument named. Device memory is never read here. */
#include "kernels/ops.h"

#include <stdarg.h>
#include <stdio.h>

#include "kernels/backend.h"
#include "kernels/kv_type.h"

enum { HEAD_DIM_MAX = 1024 };

#define OP_NAME(name, args) #name,
static const char *const names[N_OP] = {OP_LIST(OP_NAME)};
#undef OP_NAME

const char *op_name(enum op op)
{
    return names[op];
}

/* --- checks. `WANT` is the one way they fail. */

#define WANT(ok, op, arg, ...)                                                                     \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            return violated(op, arg, __VA_ARGS__);                                                 \
    } while (0)

static enum status violated(const char *op, const char *arg, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static enum status violated(const char *op, const char *arg, const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fail_field(ERR_INTERNAL, arg, "op %s: %s %s", op, arg, text);
}

static bool plain_f32(const struct tensor *t)
{
    return t->dtype == DT_F32 && t->layout == LAYOUT_ROWS && t->stride[t->ndim - 1] == 4;
}

/* A present f32 [rows, cols] whose rows lie apart by at least their size. */
static enum status matrix(const char *op, const char *arg, const struct tensor *t, int64_t rows,
                          int64_t cols)
{
    WANT(t->data, op, arg, "is absent");
    WANT(t->ndim == 2 && plain_f32(t), op, arg, "must be f32 [R, N] with dense columns");
    WANT(t->shape[0] == rows && t->shape[1] == cols, op, arg,
         "is [%lld, %lld], expected [%lld, %lld]", (long long)t->shape[0], (long long)t->shape[1],
         (long long)rows, (long long)cols);
    WANT(rows <= 1 || t->stride[0] >= 4 * cols, op, arg, "has overlapping rows");
    WANT(t->stride[0] % 4 == 0, op, arg, "has a row stride that is no multiple of 4");
    return OK;
}

static enum status heads(const char *op, const char *arg, const struct tensor *t, int64_t rows,
                         int64_t dim)
{
    WANT(t->data, op, arg, "is absent");
    WANT(t->ndim == 3 && plain_f32(t), op, arg, "must be f32 [R, H, D] with dense heads");
    WANT(t->shape[0] == rows && t->shape[1] > 0 && (dim == 0 || t->shape[2] == dim), op, arg,
         "is [%lld, %lld, %lld], expected [%lld, H, %lld]", (long long)t->shape[0],
         (long long)t->shape[1], (long long)t->shape[2], (long long)rows, (long long)dim);
    WANT(t->shape[2] > 0 && t->shape[2] <= HEAD_DIM_MAX, op, arg, "has head size %lld, most is %d",
         (long long)t->shape[2], HEAD_DIM_MAX);
    WANT(t->stride[1] >= 4 * t->shape[2] && t->stride[1] % 4 == 0 && t->stride[0] % 4 == 0, op, arg,
         "has overlapping or misaligned heads");
    return OK;
}

static enum status vector(const char *op, const char *arg, const struct tensor *t, int64_t n,
                          bool optional)
{
    if (optional && !t->data)
        return OK;
    WANT(t->data, op, arg, "is absent");
    WANT(t->ndim == 1 && plain_f32(t), op, arg, "must be a dense f32 vector");
    WANT(t->shape[0] == n, op, arg, "has %lld elements, expected %lld", (long long)t->shape[0],
         (long long)n);
    return OK;
}

static enum status weight(const char *op, const char *arg, const struct tensor *t, int64_t k)
{
    WANT(t->data, op, arg, "is absent");
    WANT(t->dtype < N_DTYPE && dtype_info((enum dtype)t->dtype)->decode, op, arg,
         "is of type %d, no weight type", t->dtype);
    WANT(t->ndim == 2 && t->shape[0] > 0 && t->shape[1] == k, op, arg,
         "is [%lld, %lld], expected [N, %lld]", (long long)t->shape[0], (long long)t->shape[1],
         (long long)k);
    int block = dtype_info((enum dtype)t->dtype)->block;
    WANT(k > 0 && k % block == 0, op, arg, "has rows of %lld, no multiple of its block of %d",
         (long long)k, block);
    WANT(t->layout != LAYOUT_ROWS ||
             t->stride[0] >= (int64_t)dtype_row_bytes((enum dtype)t->dtype, k),
         op, arg, "has overlapping rows");
    return OK;
}

static enum status ragged(const char *op, const struct ragged *r, int64_t rows)
{
    WANT(r->rows == rows, op, "r", "has %d rows, expected %lld", r->rows, (long long)rows);
    WANT(r->pos && r->row_seq && r->seq_slot, op, "r", "lacks pos, row_seq or seq_slot");
    WANT(r->seqs > 0 || rows == 0, op, "r", "has no sequence");
    return OK;
}

static enum status pages(const char *op, const struct kv_view *kv, int64_t dim)
{
    int64_t bytes = kv_page_bytes((enum dtype)kv->dtype, kv->n_head, kv->page_tokens, kv->head_dim);
    WANT(kv->base && kv->table && kv->table_stride > 0, op, "kv", "lacks base or table");
    WANT(kv_type_name((enum dtype)kv->dtype), op, "kv", "is of type %d, expected " KV_TYPES,
         kv->dtype);
    WANT(kv->head_dim == dim, op, "kv", "has head size %d, expected %lld", kv->head_dim,
         (long long)dim);
    WANT(kv->page_tokens > 0 && kv->n_head > 0 && kv->window >= 0, op, "kv",
         "has %d positions a page, %d heads, window %d", kv->page_tokens, kv->n_head, kv->window);
    WANT(kv->page_bytes == bytes, op, "kv", "has %lld bytes a page, expected %lld",
         (long long)kv->page_bytes, (long long)bytes);
    return OK;
}

static enum status rotation(const char *op, const float *inv_freq, int n_freq, int64_t dim)
{
    WANT(inv_freq, op, "inv_freq", "is absent");
    WANT(n_freq > 0 && 2 * n_freq <= dim, op, "n_freq", "is %d with head size %lld", n_freq,
         (long long)dim);
    return OK;
}

/* --- one check an op */

static enum status check_embed(const struct op_embed *a)
{
    int64_t k = a->table.shape[1];
    TRY(weight("embed", "table", &a->table, k));
    TRY(ragged("embed", &a->r, a->y.shape[0]));
    WANT(a->token, "embed", "token", "is absent");
    if (a->rows.data)
        TRY(matrix("embed", "rows", &a->rows, a->rows.shape[0], k));
    return matrix("embed", "y", &a->y, a->y.shape[0], k);
}

static enum status check_rmsnorm(const struct op_rmsnorm *a)
{
    const struct tensor *x = &a->x, *y = &a->y;
    int last = x->ndim == 3 ? 2 : 1;
    if (x->ndim == 3) {
        TRY(heads("rmsnorm", "x", x, x->shape[0], 0));
        TRY(heads("rmsnorm", "y", y, x->shape[0], x->shape[2]));
        WANT(y->shape[1] == x->shape[1], "rmsnorm", "y", "has %lld heads, expected %lld",
             (long long)y->shape[1], (long long)x->shape[1]);
    } else {
        TRY(matrix("rmsnorm", "x", x, x->shape[0], x->shape[1]));
        TRY(matrix("rmsnorm", "y", y, x->shape[0], x->shape[1]));
    }
    return vector("rmsnorm", "weight", &a->weight, x->shape[last], false);
}

static enum status check_linear(const struct op_linear *a)
{
    int64_t r = a->x.shape[0], k = a->x.shape[1];
    TRY(matrix("linear", "x", &a->x, r, k));
    TRY(weight("linear", "w", &a->w, k));
    TRY(vector("linear", "bias", &a->bias, a->w.shape[0], true));
    TRY(matrix("linear", "y", &a->y, r, a->w.shape[0]));
    if (a->add.data)
        TRY(matrix("linear", "add", &a->add, r, a->w.shape[0]));
    WANT(a->add.data != a->y.data || a->add.stride[0] == a->y.stride[0] || !a->y.data, "linear",
         "add", "is y with other rows");
    WANT(a->y.data != a->x.data, "linear", "y", "must not be x");
    return OK;
}

static enum status check_norm_linear(const struct op_norm_linear *a)
{
    int64_t r = a->x.shape[0], k = a->x.shape[1], n = 0;
    TRY(matrix("norm_linear", "x", &a->x, r, k));
    TRY(matrix("norm_linear", "h", &a->h, r, k));
    TRY(vector("norm_linear", "weight", &a->weight, k, false));
    WANT(a->n_parts >= 1 && a->n_parts <= NORM_LINEAR_PARTS, "norm_linear", "n_parts", "is %d",
         a->n_parts);
    for (int i = 0; i < a->n_parts; i++) {
        TRY(weight("norm_linear", "w", &a->w[i], k));
        n += a->w[i].shape[0];
    }
    TRY(vector("norm_linear", "bias", &a->bias, n, true));
    TRY(matrix("norm_linear", "y", &a->y, r, n));
    WANT(a->y.data != a->x.data && a->y.data != a->h.data, "norm_linear", "y",
         "must not be x or h");
    return OK;
}

static enum status check_rope(const struct op_rope *a)
{
    TRY(heads("rope", "x", &a->x, a->x.shape[0], 0));
    TRY(ragged("rope", &a->r, a->x.shape[0]));
    return rotation("rope", a->inv_freq, a->n_freq, a->x.shape[2]);
}

static enum status check_kv_write(const struct op_kv_write *a)
{
    int64_t r = a->k.shape[0], d = a->k.shape[2];
    TRY(heads("kv_write", "k", &a->k, r, 0));
    TRY(heads("kv_write", "v", &a->v, r, d));
    TRY(ragged("kv_write", &a->r, r));
    TRY(pages("kv_write", &a->kv, d));
    WANT(a->k.shape[1] == a->kv.n_head && a->v.shape[1] == a->kv.n_head, "kv_write", "k",
         "has %lld heads and v %lld, pages have %d", (long long)a->k.shape[1],
         (long long)a->v.shape[1], a->kv.n_head);
    return OK;
}

static enum status check_rope_kv(const struct op_rope_kv *a)
{
    int64_t r = a->k.shape[0], d = a->k.shape[2];
    TRY(heads("rope_kv", "k", &a->k, r, 0));
    TRY(heads("rope_kv", "q", &a->q, r, d));
    TRY(heads("rope_kv", "v", &a->v, r, d));
    TRY(vector("rope_kv", "q_norm", &a->q_norm, d, true));
    TRY(vector("rope_kv", "k_norm", &a->k_norm, d, true));
    TRY(ragged("rope_kv", &a->r, r));
    TRY(pages("rope_kv", &a->kv, d));
    WANT(a->k.shape[1] == a->kv.n_head && a->v.shape[1] == a->kv.n_head, "rope_kv", "k",
         "has %lld heads and v %lld, pages have %d", (long long)a->k.shape[1],
         (long long)a->v.shape[1], a->kv.n_head);
    return rotation("rope_kv", a->inv_freq, a->n_freq, d);
}

static enum status check_attention(const struct op_attention *a)
{
    int64_t r = a->q.shape[0], d = a->q.shape[2];
    TRY(heads("attention", "q", &a->q, r, 0));
    TRY(heads("attention", "y", &a->y, r, d));
    TRY(ragged("attention", &a->r, r));
    TRY(pages("attention", &a->kv, d));
    WANT(a->y.shape[1] == a->q.shape[1], "attention", "y", "has %lld heads, q %lld",
         (long long)a->y.shape[1], (long long)a->q.shape[1]);
    WANT(a->q.shape[1] % a->kv.n_head == 0, "attention", "q", "has %lld heads for %d of keys",
         (long long)a->q.shape[1], a->kv.n_head);
    WANT(a->softcap >= 0, "attention", "softcap", "is negative");
    return vector("attention", "sinks", &a->sinks, a->q.shape[1], true);
}

static enum status check_glu(const struct op_glu *a)
{
    TRY(matrix("glu", "y", &a->y, a->y.shape[0], a->y.shape[1]));
    WANT(a->act >= ACT_SILU && a->act <= ACT_RELU, "glu", "act", "is %d", (int)a->act);
    return matrix("glu", "x", &a->x, a->y.shape[0], 2 * a->y.shape[1]);
}

static enum status check_glu_linear(const struct op_glu_linear *a)
{
    struct op_glu glu = {a->x, a->h, a->act, a->live};
    struct op_linear linear = {a->h, a->w, a->bias, a->add, a->y, a->live};
    TRY(check_glu(&glu));
    return check_linear(&linear);
}

static enum status check_add(const struct op_add *a)
{
    int64_t r = a->y.shape[0], n = a->y.shape[1];
    TRY(matrix("add", "y", &a->y, r, n));
    TRY(matrix("add", "a", &a->a, r, n));
    return matrix("add", "b", &a->b, r, n);
}

static enum status check_conv1d(const struct op_conv1d *a)
{
    int64_t r = a->x.shape[0], c = a->x.shape[1];
    TRY(matrix("conv1d", "x", &a->x, r, c));
    TRY(matrix("conv1d", "y", &a->y, r, c));
    TRY(matrix("conv1d", "w", &a->w, c, a->w.shape[1]));
    WANT(a->w.shape[1] >= 2 && a->w.shape[1] <= CONV1D_MAX, "conv1d", "w",
         "has a width of %lld, expected 2 to %d", (long long)a->w.shape[1], CONV1D_MAX);
    WANT(a->state && a->r.seq_start, "conv1d", "state", "or r.seq_start is absent");
    return ragged("conv1d", &a->r, r);
}

static enum status check_gather(const struct op_gather *a)
{
    WANT(a->x.data && a->y.data, "gather", "x", "or y is absent");
    WANT(a->index, "gather", "index", "is absent");
    WANT(a->x.ndim == 2 && a->y.ndim == 2 && a->x.dtype == a->y.dtype &&
             a->x.shape[1] == a->y.shape[1],
         "gather", "y", "must have the type and row size of x");
    return OK;
}

static enum status check_columns(const struct op_columns *a)
{
    int64_t r = a->y.shape[0], k = a->y.shape[1];
    TRY(matrix("columns", "y", &a->y, r, k));
    TRY(matrix("columns", "x", &a->x, r, k));
    WANT(a->index, "columns", "index", "is absent");
    WANT(a->x.data != a->y.data || r == 0, "columns", "y", "must not be x");
    return OK;
}

static enum status check_sample(const struct op_sample *a)
{
    TRY(matrix("sample", "logits", &a->logits, a->logits.shape[0], a->logits.shape[1]));
    WANT(a->logits.shape[1] > 0, "sample", "logits", "has no vocabulary");
    WANT(a->row, "sample", "row", "is absent");
    WANT(a->out, "sample", "out", "is absent");
    return OK;
}

static enum status check_count(const struct op_count *a)
{
    WANT(a->counts, "count", "counts", "is absent");
    WANT(a->n >= 0 && a->n_prompt >= 0 && a->n_prompt <= a->n, "count", "n_prompt",
         "is %d of %d tokens", a->n_prompt, a->n);
    WANT(a->token || a->n == 0, "count", "token", "is absent");
    for (int i = 0; i < a->n; i++)
        WANT(a->token[i] >= 0 && a->token[i] < a->n_vocab, "count", "token", "%d is %d, of %lld", i,
             a->token[i], (long long)a->n_vocab);
    return OK;
}

/* --- compositions */

struct op_linear op_norm_linear_part(const struct op_norm_linear *a, int i)
{
    int64_t first = 0, n = a->w[i].shape[0];
    struct op_linear o = {.x = a->h, .w = a->w[i], .live = a->live};
    for (int j = 0; j < i; j++)
        first += a->w[j].shape[0];
    o.y = a->n_parts == 1 ? a->y : tensor_cols(a->y, first, n);
    if (a->bias.data)
        o.bias = tensor_1d((float *)a->bias.data + first, DT_F32, n);
    return o;
}

static enum status compose_norm_linear(struct queue *q, const struct op_norm_linear *a)
{
    struct op_rmsnorm norm = {a->x, a->weight, a->h, a->eps, a->live};
    TRY(op_rmsnorm(q, &norm));
    for (int i = 0; i < a->n_parts; i++) {
        struct op_linear linear = op_norm_linear_part(a, i);
        TRY(op_linear(q, &linear));
    }
    return OK;
}

static enum status compose_glu_linear(struct queue *q, const struct op_glu_linear *a)
{
    struct op_glu glu = {a->x, a->h, a->act, a->live};
    struct op_linear linear = {a->h, a->w, a->bias, a->add, a->y, a->live};
    TRY(op_glu(q, &glu));
    return op_linear(q, &linear);
}

static enum status compose_rope_kv(struct queue *q, const struct op_rope_kv *a)
{
    struct op_rmsnorm q_norm = {a->q, a->q_norm, a->q, a->eps, a->r.live};
    struct op_rmsnorm k_norm = {a->k, a->k_norm, a->k, a->eps, a->r.live};
    struct op_rope rope = {a->q, a->r, a->inv_freq, a->n_freq, a->neox, a->factor};
    struct op_kv_write write = {a->k, a->v, a->r, a->kv};
    if (a->q_norm.data)
        TRY(op_rmsnorm(q, &q_norm));
    if (a->k_norm.data)
        TRY(op_rmsnorm(q, &k_norm));
    TRY(op_rope(q, &rope));
    rope.x = a->k;
    TRY(op_rope(q, &rope));
    return op_kv_write(q, &write);
}

enum status op_compose(struct queue *q, enum op op, const void *a)
{
    switch (op) {
    case OP_norm_linear:
        return compose_norm_linear(q, a);
    case OP_glu_linear:
        return compose_glu_linear(q, a);
    case OP_rope_kv:
        return compose_rope_kv(q, a);
    default:
        return fail(ERR_UNSUPPORTED, "backend %s lacks the op %s", q->dev->backend->name,
                    op_name(op));
    }
}

#define OP_CALL(name, args)                                                                        \
    enum status op_##name(struct queue *q, const args *a)                                          \
    {                                                                                              \
        TRY(check_##name(a));                                                                      \
        enum status (*run)(struct queue *, const args *) = q->dev->backend->ops.name;              \
        return run ? run(q, a) : op_compose(q, OP_##name, a);                                      \
    }
OP_LIST(OP_CALL)
#undef OP_CALL
