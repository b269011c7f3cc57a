/* quantize.c - see quantize.h.
 *
 * First the plan: which tensors there will be, of which format, with which importance; then the
 * output's header; then one tensor after the other, its rows shared out in slices among threads.
 * The invariant: a slice of the output depends on the same rows of the source alone, and on the
 * tensor's factor, which is known before any slice of it. */
#include "engine/load/quantize.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/gguf_write.h"
#include "engine/load/imatrix.h"
#include "engine/load/mix.h"
#include "engine/load/outline.h"
#include "kernels/base/thread.h"
#include "kernels/quant/encode.h"

enum { SLICE = 1 << 18 }; /* numbers, about */
static const float most_magnitude = 1e12f, most_f16 = 65504;

struct job { /* a tensor of the output */
    const struct outline_tensor *from;
    const float *importance; /* [matrices, columns], or NULL */
    enum dtype type;
    int number, scale; /* in the writer: it, and its companion of factors or -1 */
    int64_t rows, columns, matrices;
};

struct maker {
    const struct checkpoint *c;
    const struct quantize_options *o;
    const struct mix *mix;
    struct mix_model model;
    struct outline outline;
    struct gguf_writer *w;
    struct job *job;
    int n;
    int factors[2]; /* of rotary frequencies: the tensors' numbers */
    int n_lacking;  /* tensors without importance although there is a matrix of it */
};

static bool stopped(const struct maker *m)
{
    return m->o->stop && atomic_load(m->o->stop);
}

/* ---- one tensor ------------------------------------------------------------------------------ */

enum turn { TURN_LOOK, TURN_WRITE }; /* for the largest magnitude first, where that is needed */

struct team {
    const struct maker *m;
    const struct job *j;
    enum turn turn;
    const char *data; /* of the source */
    float *top;       /* [matrices] */
    int64_t next, slice_rows;
    pthread_mutex_t lock;
    enum status status;
    char message[512];
};

/* The next slice; false when there is none or somebody failed. */
static bool next_slice(struct team *t, int64_t *first, int64_t *n)
{
    bool more;

    pthread_mutex_lock(&t->lock);
    if (t->status == OK && stopped(t->m))
        t->status = fail(ERR_CANCELLED, "interrupted");
    more = t->status == OK && t->next < t->j->rows;
    *first = t->next;
    *n = t->j->rows - t->next < t->slice_rows ? t->j->rows - t->next : t->slice_rows;
    t->next += *n;
    pthread_mutex_unlock(&t->lock);
    return more;
}

static void record(struct team *t, enum status s)
{
    pthread_mutex_lock(&t->lock);
    if (t->status == OK) {
        t->status = s;
        snprintf(t->message, sizeof t->message, "%s", fail_text());
    }
    pthread_mutex_unlock(&t->lock);
}

/* One row as floats, checked; *top grows to its largest magnitude. x has room for two rows. */
static enum status read_row(const struct team *t, int64_t row, float *x, float *top)
{
    const struct job *j = t->j;
    const struct ckpt_tensor *src = j->from->src;
    enum dtype type = (enum dtype)src->dtype;
    const char *at =
        t->data + (size_t)outline_row(j->from, row) * dtype_row_bytes(type, j->columns);
    float most = 0;

    dtype_decode(type, at, src->order ? x + j->columns : x, j->columns);
    for (int64_t i = 0; src->order && i < j->columns; i++)
        x[src->order[i]] = x[j->columns + i];
    for (int64_t i = 0; i < j->columns; i++) {
        x[i] *= j->from->factor;
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        if (!(fabsf(x[i]) <= most_magnitude))
            return fail(ERR_FORMAT, "row %lld has the number %g, which no format can hold",
                        (long long)row, (double)x[i]);
    }
    if (j->type == DT_F16 && most > most_f16)
        return fail(ERR_UNSUPPORTED, "row %lld has the number %g, too large for f16: take bf16",
                    (long long)row, (double)most);
    *top = most > *top ? most : *top;
    return OK;
}

static enum status do_slice(struct team *t, int64_t first, int64_t n, float *x, char *out)
{
    const struct job *j = t->j;
    size_t row_bytes = dtype_row_bytes(j->type, j->columns);
    int64_t matrix_rows = j->rows / j->matrices;

    for (int64_t r = first; r < first + n; r++) {
        int64_t matrix = r / matrix_rows;
        float top = 0, global;

        TRY(read_row(t, r, x, &top));
        if (t->turn == TURN_LOOK) {
            pthread_mutex_lock(&t->lock);
            t->top[matrix] = top > t->top[matrix] ? top : t->top[matrix];
            pthread_mutex_unlock(&t->lock);
            continue;
        }
        global = encode_global(j->type, t->top[matrix]); /* which nobody writes any more */
        for (int64_t i = 0; global != 0 && i < j->columns; i++)
            x[i] /= global;
        encode_row(j->type, x, j->importance ? j->importance + matrix * j->columns : NULL,
                   j->columns, out + (size_t)(r - first) * row_bytes);
    }
    if (t->turn == TURN_LOOK)
        return OK;
    return gguf_write(t->m->w, j->number, (size_t)first * row_bytes, out, (size_t)n * row_bytes);
}

static void *work(void *arg)
{
    struct team *t = arg;
    int64_t first, n;
    float *x = xmalloc(2 * (size_t)t->j->columns * sizeof *x);
    char *out = xmalloc((size_t)t->slice_rows * dtype_row_bytes(t->j->type, t->j->columns));

    while (next_slice(t, &first, &n)) {
        enum status s = do_slice(t, first, n, x, out);

        if (s != OK)
            record(t, s);
    }
    xfree(x);
    xfree(out);
    return NULL;
}

/* All slices, by as many threads as there is work for; the caller is one of them. */
static enum status run_turn(struct team *t, enum turn turn)
{
    int64_t slices = (t->j->rows + t->slice_rows - 1) / t->slice_rows;
    int n = t->m->o->threads < slices ? t->m->o->threads : (int)slices, started = 0;
    pthread_t *thread = xcalloc((size_t)n, sizeof *thread);

    t->turn = turn;
    t->next = 0;
    while (started < n - 1 && thread_start(&thread[started], "quantize", work, t) == OK)
        started++;
    work(t);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    xfree(thread);
    return t->status == OK ? OK : fail(t->status, "%s", t->message[0] ? t->message : "interrupted");
}

/* `top` NULL: the factor that the source has. */
static enum status write_factors(const struct maker *m, const struct job *j, const float *top)
{
    for (int64_t i = 0; i < j->matrices && j->scale >= 0; i++) {
        float global = top ? encode_global(j->type, top[i]) : j->from->factor;

        global = global != 0 ? global : 1; /* of a matrix of zeros */
        TRY(gguf_write(m->w, j->scale, (size_t)i * sizeof global, &global, sizeof global));
    }
    return OK;
}

/* The bytes of a source tensor as they are, for tensors that keep their format. */
static bool is_copy(const struct job *j)
{
    return (int)j->type == j->from->src->dtype && !j->from->heads && !j->from->src->order &&
           (j->from->factor == 1 || j->type == DT_NVFP4);
}

static enum status write_job(const struct maker *m, const struct job *j, const char *data)
{
    struct team t = {.m = m, .j = j, .data = data};
    enum status s = OK;

    if (is_copy(j)) {
        TRY(write_factors(m, j, NULL));
        return gguf_write(m->w, j->number, 0, data, j->from->src->bytes);
    }
    t.slice_rows = SLICE / j->columns > 0 ? SLICE / j->columns : 1;
    t.top = xcalloc((size_t)j->matrices, sizeof *t.top);
    pthread_mutex_init(&t.lock, NULL);
    if (j->scale >= 0)
        s = run_turn(&t, TURN_LOOK);
    if (s == OK)
        s = write_factors(m, j, t.top);
    if (s == OK)
        s = run_turn(&t, TURN_WRITE);
    pthread_mutex_destroy(&t.lock);
    xfree(t.top);
    return s;
}

/* With the source's bytes at hand: mapped, or made for as long as they are needed. */
static enum status do_job(const struct maker *m, const struct job *j)
{
    const struct ckpt_tensor *src = j->from->src;
    void *made = NULL;
    enum status s = OK;

    if (src->made) {
        TRY(big_alloc(src->bytes, &made));
        s = m->c->format->fill(m->c, src, made);
    }
    if (s == OK)
        s = write_job(m, j, made ? made : checkpoint_view(m->c, src).data);
    if (made)
        big_free(made, src->bytes);
    else
        file_map_drop(&m->c->file[src->file], src->offset, src->bytes);
    return s;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static void note(const struct maker *m, const char *line)
{
    if (m->o->note)
        m->o->note(m->o->ctx, line);
}

static enum status check_source(const struct maker *m, const struct job *j)
{
    const struct ckpt_tensor *src = j->from->src;
    const struct dtype_info *from, *to = dtype_info(j->type);

    if (src->dtype < 0 || !dtype_info((enum dtype)src->dtype)->decode)
        return fail(ERR_UNSUPPORTED, "has type %s, which is not supported",
                    checkpoint_type_name(m->c, src));
    from = dtype_info((enum dtype)src->dtype);
    if (from->block > 1 && to->block > 1 && from != to && !m->o->requantize)
        return fail_field(ERR_INVALID, "allow-requantize",
                          "is quantised already (%s): to quantise it again adds the errors of "
                          "both; --allow-requantize does it nevertheless",
                          from->name);
    return OK;
}

static enum dtype choose_type(const struct maker *m, const struct job *j, bool taken)
{
    const struct ckpt_tensor *src = j->from->src;
    enum dtype t = m->o->pure ? m->mix->base : mix_type(m->mix, &m->model, j->from->name);

    if (!taken) /* norms and biases are f32 in every GGUF file */
        return src->dtype == DT_F16 || src->dtype == DT_BF16 ? DT_F32 : (enum dtype)src->dtype;
    if (m->o->pure && t == DT_NVFP4 && strcmp(j->from->name, "token_embd.weight") == 0)
        t = DT_Q8_0; /* a table has no factor */
    return mix_fit(t, j->columns);
}

static enum status plan_tensor(struct maker *m, const struct outline_tensor *from)
{
    struct job *j = &m->job[m->n++];
    const struct ckpt_tensor *src = from->src;
    bool taken = mix_takes(from->name, src->ndim);

    *j = (struct job){.from = from, .scale = -1, .rows = 1, .matrices = 1};
    j->columns = src->shape[src->ndim - 1];
    for (int i = 0; i + 1 < src->ndim; i++)
        j->rows *= src->shape[i];
    for (int i = 0; i + 2 < src->ndim; i++)
        j->matrices *= src->shape[i];
    if (from->heads && src->ndim == 1) { /* rows change places, so each number is one */
        j->rows = j->columns;
        j->columns = 1;
    }
    j->type = choose_type(m, j, taken);
    TRY(check_source(m, j));
    if (taken && m->o->imatrix && dtype_info(j->type)->block > 1) {
        TRY(imatrix_get(m->o->imatrix, from->name, j->matrices, j->columns, &j->importance));
        m->n_lacking += j->importance == NULL;
    }
    return OK;
}

/* One line for each format that had to be replaced. */
static void note_fallbacks(const struct maker *m)
{
    int count[N_DTYPE][N_DTYPE] = {0};

    for (int i = 0; i < m->n; i++) {
        const struct job *j = &m->job[i];

        if (mix_takes(j->from->name, j->from->src->ndim) && !m->o->pure)
            count[mix_type(m->mix, &m->model, j->from->name)][j->type]++;
    }
    for (int a = 0; a < N_DTYPE; a++) {
        for (int b = 0; b < N_DTYPE; b++) {
            char line[160];

            if (a == b || !count[a][b])
                continue;
            snprintf(line, sizeof line,
                     "%s instead of %s in %d tensor%s: rows are no multiple of %d",
                     dtype_info((enum dtype)b)->name, dtype_info((enum dtype)a)->name, count[a][b],
                     count[a][b] > 1 ? "s" : "", dtype_info((enum dtype)a)->block);
            note(m, line);
        }
    }
    if (m->n_lacking) {
        char line[160];

        snprintf(line, sizeof line, "the importance matrix says nothing of %d tensors",
                 m->n_lacking);
        note(m, line);
    }
}

static enum status plan(struct maker *m)
{
    int weights = 0;

    m->job = xcalloc((size_t)m->outline.n, sizeof *m->job);
    m->model = m->outline.model;
    m->model.importance = m->o->imatrix != NULL;
    for (int i = 0; i < m->outline.n; i++) {
        enum status s = plan_tensor(m, &m->outline.tensor[i]);

        if (s != OK)
            return fail_in(s, "%s: tensor %s", m->c->path, m->outline.tensor[i].src->name);
        weights += mix_takes(m->outline.tensor[i].name, m->outline.tensor[i].src->ndim);
    }
    if (weights == 0)
        return fail(ERR_UNSUPPORTED, "%s: has no matrix that a number format is for", m->c->path);
    note_fallbacks(m);
    return OK;
}

/* "blk.0.attn_q.weight" -> "blk.0.attn_q.scale" */
static void scale_name(const char *weight, char *out, size_t size)
{
    snprintf(out, size, "%.*s.scale", (int)(strlen(weight) - strlen(".weight")), weight);
}

static enum status write_header(struct maker *m)
{
    char name[1100];

    TRY(outline_keys(&m->outline, m->c, m->w));
    gguf_put_u32(m->w, "general.file_type", (uint32_t)m->mix->file_type);
    gguf_put_u32(m->w, "general.quantization_version", 2);
    if (m->o->imatrix) {
        gguf_put_u32(m->w, "quantize.imatrix.entries_count",
                     (uint32_t)imatrix_entries(m->o->imatrix));
        gguf_put_u32(m->w, "quantize.imatrix.chunks_count",
                     (uint32_t)imatrix_chunks(m->o->imatrix));
    }
    for (int i = 0; i < m->n; i++) {
        struct job *j = &m->job[i];
        const struct ckpt_tensor *src = j->from->src;

        j->number = gguf_add(m->w, j->from->name, j->type, src->ndim, src->shape);
        if (j->type == DT_NVFP4 && (!is_copy(j) || j->from->factor != 1)) {
            scale_name(j->from->name, name, sizeof name);
            j->scale = gguf_add(m->w, name, DT_F32, 1, &j->matrices);
        }
    }
    for (int i = 0; i < m->outline.n_sets; i++)
        m->factors[i] =
            gguf_add(m->w, m->outline.factors[i].name, DT_F32, 1, &m->outline.n_factors);
    return gguf_start(m->w);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void tell(const struct maker *m, const char *stage, double done)
{
    if (m->o->progress)
        m->o->progress(m->o->ctx, stage, done);
}

static enum status write_all(struct maker *m)
{
    double total = 0, done = 0;

    for (int i = 0; i < m->n; i++)
        total += (double)m->job[i].from->src->bytes;
    for (int i = 0; i < m->n; i++) {
        enum status s;

        tell(m, "quantizing", done / total);
        if (stopped(m))
            return fail(ERR_CANCELLED, "interrupted");
        s = do_job(m, &m->job[i]);
        if (s != OK)
            return fail_in(s, "tensor %s", m->job[i].from->name);
        done += (double)m->job[i].from->src->bytes;
    }
    for (int i = 0; i < m->outline.n_sets; i++)
        TRY(gguf_write(m->w, m->factors[i], 0, m->outline.factors[i].value,
                       (size_t)m->outline.n_factors * sizeof(float)));
    tell(m, "writing to disk", 1);
    return gguf_commit(m->w);
}

static void count(const struct maker *m, struct quantize_result *out)
{
    *out =
        (struct quantize_result){.bytes_in = checkpoint_bytes(m->c), .bytes_out = gguf_size(m->w)};
    for (int i = 0; i < m->n; i++) {
        const struct job *j = &m->job[i];

        if (!mix_takes(j->from->name, j->from->src->ndim))
            continue;
        out->weights += j->rows * j->columns;
        out->weight_bytes += dtype_row_bytes(j->type, j->columns) * (size_t)j->rows;
    }
}

enum status quantize_file(const struct checkpoint *c, const char *path,
                          const struct quantize_options *o, struct quantize_result *out)
{
    struct maker m = {.c = c, .o = o, .mix = mix_find(o->type)};
    enum status s;

    if (!m.mix)
        return fail_field(ERR_INVALID, "type", "no type \"%.40s\" (types: %s)", o->type,
                          mix_list());
    tell(&m, "reading header", 0);
    s = outline_open(&m.outline, c);
    if (s == OK)
        s = plan(&m);
    if (s == OK)
        s = gguf_create(path, &m.w);
    if (s == OK)
        s = write_header(&m);
    if (s == OK)
        s = write_all(&m);
    if (s == OK)
        count(&m, out);
    gguf_close(m.w);
    outline_close(&m.outline);
    xfree(m.job);
    return s;
}
