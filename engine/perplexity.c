/* perplexity.c - see perplexity.h.
 *
 * A file of logits is a GGUF file of two tensors, the tokens of the windows and the logits behind
 * each scored position: its reader and its writer exist already, with all their checks. */
#include "engine/perplexity.h"

#include <math.h>
#include <string.h>

#include "engine/load/gguf_write.h"

enum { WINDOW = 512, WINDOW_LEAST = 3 }; /* its second half, but for the last, is scored */
static const char kind[] = "logits";

struct sums { /* for a mean and its error */
    double sum, squares;
    int64_t n;
};

struct run {
    const struct perplexity_options *o;
    struct scorer *scorer;
    struct arena arena;
    struct token_list all; /* the text; of each window the first is replaced by BOS */
    int64_t windows;
    int window, first; /* tokens of a window; its first scored position */
    size_t n_vocab;
    struct gguf_writer *save;
    int logits; /* its tensor */
    struct checkpoint *reference;
    const float *other; /* its logits */
    int64_t at;         /* window now, from 0 */
    struct sums nll, divergence, top, ratio;
    double divergence_most, logit_sum, logit_most;
};

static void add(struct sums *s, double x)
{
    s->sum += x;
    s->squares += x * x;
    s->n++;
}

static struct mean mean_of(const struct sums *s)
{
    double mean = s->n ? s->sum / (double)s->n : 0;
    double variance = s->n ? s->squares / (double)s->n - mean * mean : 0;

    return (struct mean){mean, s->n > 1 && variance > 0 ? sqrt(variance / (double)(s->n - 1)) : 0};
}

/* ---- one position ---------------------------------------------------------------------------- */

struct row {
    const float *x;
    double total; /* logarithm of the sum of exp x */
    size_t top;   /* the likeliest, the smallest id on ties */
};

static struct row row_of(const float *x, size_t n)
{
    struct row r = {.x = x};
    double sum = 0;

    for (size_t i = 1; i < n; i++)
        r.top = x[i] > x[r.top] ? i : r.top;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - x[r.top]);
    r.total = x[r.top] + log(sum);
    return r;
}

/* `b` is the reference's. */
static void compare(struct run *r, const struct row *a, const struct row *b, int32_t token)
{
    double divergence = 0;

    for (size_t i = 0; i < r->n_vocab; i++) {
        double p = b->x[i] - b->total, d = fabs((double)a->x[i] - b->x[i]);

        if (p > -INFINITY) /* what cannot be adds nothing */
            divergence += exp(p) * (p - (a->x[i] - a->total));
        r->logit_sum += d;
        r->logit_most = d > r->logit_most ? d : r->logit_most;
    }
    add(&r->divergence, divergence);
    r->divergence_most = divergence > r->divergence_most ? divergence : r->divergence_most;
    add(&r->top, a->top == b->top);
    add(&r->ratio, (a->total - a->x[token]) - (b->total - b->x[token]));
}

static enum status take(void *ctx, int pos, const float *logits)
{
    struct run *r = ctx;
    int per_window = r->window - 1 - r->first;
    size_t index = (size_t)(r->at * per_window + (pos - r->first));

    if (pos < r->first || pos >= r->window - 1)
        return OK; /* what follows the window's last token is not scored */
    int32_t token = r->all.id[r->at * r->window + pos + 1];
    struct row row = row_of(logits, r->n_vocab);
    if (!isfinite(row.total))
        return fail(ERR_FORMAT, "window %lld, position %d: the model gives no finite logits",
                    (long long)r->at, pos);
    add(&r->nll, row.total - logits[token]);
    if (r->other) {
        struct row other = row_of(r->other + index * r->n_vocab, r->n_vocab);

        if (!isfinite(other.total))
            return fail(ERR_FORMAT, "%s: window %lld, position %d: no finite logits",
                        r->o->reference, (long long)r->at, pos);
        compare(r, &row, &other, token);
    }
    if (!r->save)
        return OK;
    return gguf_write(r->save, r->logits, index * r->n_vocab * sizeof *logits, logits,
                      r->n_vocab * sizeof *logits);
}

/* ---- files of logits ------------------------------------------------------------------------- */

static enum status save_open(struct run *r)
{
    int64_t rows = r->windows * (r->window - 1 - r->first);
    int64_t shape[2] = {rows, (int64_t)r->n_vocab}, tokens[1] = {r->windows * r->window};
    int t;

    TRY(gguf_create(r->o->save, &r->save));
    gguf_put_text(r->save, "general.type", bytes_of(kind));
    gguf_put_text(r->save, "general.name", bytes_of(model_info(score_model(r->scorer))->id));
    gguf_put_u32(r->save, "logits.window", (uint32_t)r->window);
    t = gguf_add(r->save, "tokens", DT_I32, 1, tokens);
    r->logits = gguf_add(r->save, "logits", DT_F32, 2, shape);
    TRY(gguf_start(r->save));
    return gguf_write(r->save, t, 0, r->all.id, (size_t)tokens[0] * sizeof *r->all.id);
}

static enum status reference_open(struct run *r)
{
    const char *path = r->o->reference;
    const struct ckpt_tensor *tokens, *logits;
    const struct value *v;
    int per_window = r->window - 1 - r->first;

    TRY(checkpoint_open(path, &r->reference));
    v = checkpoint_key(r->reference, "logits.window");
    tokens = checkpoint_tensor(r->reference, "tokens");
    logits = checkpoint_tensor(r->reference, "logits");
    if (!v || !tokens || !logits || tokens->dtype != DT_I32 || logits->dtype != DT_F32 ||
        logits->ndim != 2)
        return fail(ERR_FORMAT, "%s: is no file of logits, as --save-logits writes it", path);
    if (v->integer != r->window)
        return fail_field(ERR_INVALID, "ctx", "%s: was made with --ctx %lld, this run has %d", path,
                          (long long)v->integer, r->window);
    if (logits->shape[1] != (int64_t)r->n_vocab)
        return fail(ERR_INVALID, "%s: has %lld tokens in its vocabulary, the model has %zu", path,
                    (long long)logits->shape[1], r->n_vocab);
    if (r->windows > tokens->shape[0] / r->window || r->windows > logits->shape[0] / per_window)
        r->windows = tokens->shape[0] / r->window < logits->shape[0] / per_window
                         ? tokens->shape[0] / r->window
                         : logits->shape[0] / per_window;
    if (r->windows < 1)
        return fail(ERR_FORMAT, "%s: has not one whole window", path);
    if (memcmp(checkpoint_view(r->reference, tokens).data, r->all.id,
               (size_t)(r->windows * r->window) * sizeof *r->all.id) != 0)
        return fail(ERR_INVALID, "%s: was made of another text or with another tokenizer", path);
    r->other = checkpoint_view(r->reference, logits).data;
    return OK;
}

/* ---- the run --------------------------------------------------------------------------------- */

static void tell(const struct run *r, const char *stage, double done)
{
    if (r->o->progress)
        r->o->progress(r->o->ctx, stage, done);
}

static void packing(void *ctx, double done)
{
    tell(ctx, "packing weights", done);
}

/* The text as tokens, BOS at the head of each window where the model begins texts with it. */
static enum status cut(struct run *r)
{
    const struct model *m = score_model(r->scorer);
    struct token_list empty;

    tell(r, "tokenizing", 0);
    TRY(model_tokenize(m, &r->arena, r->o->text, false, AROUND_PROMPT, &r->all));
    TRY(model_tokenize(m, &r->arena, (struct bytes){"", 0}, false, AROUND_PROMPT, &empty));
    r->windows = r->all.n / r->window;
    if (r->windows < 1)
        return fail(ERR_INVALID, "the text has %d tokens, a window %d: give a longer one", r->all.n,
                    r->window);
    if (r->o->windows > 0 && r->windows > r->o->windows)
        r->windows = r->o->windows;
    for (int64_t i = 0; i < r->windows && empty.n > 0; i++)
        r->all.id[i * r->window] = empty.id[0];
    return OK;
}

static enum status open_all(struct run *r)
{
    struct score_options model = r->o->model;

    r->window = model.window ? model.window : WINDOW;
    if (r->window < WINDOW_LEAST)
        return fail_field(ERR_INVALID, "ctx", "a window of %d tokens scores none: take %d or more",
                          r->window, WINDOW_LEAST);
    r->first = r->window / 2;
    model.window = r->window;
    model.progress = packing;
    model.ctx = r;
    tell(r, "reading header", 0);
    TRY(score_open(&model, &r->scorer));
    r->n_vocab = (size_t)score_model(r->scorer)->net.hp.n_vocab;
    TRY(cut(r));
    if (r->o->reference)
        TRY(reference_open(r));
    return r->o->save ? save_open(r) : OK;
}

static enum status run_all(struct run *r)
{
    TRY(open_all(r));
    for (r->at = 0; r->at < r->windows; r->at++) {
        struct token_list window = {r->all.id + r->at * r->window, r->window};

        tell(r, "scoring", (double)r->at / (double)r->windows);
        if (r->o->stop && atomic_load(r->o->stop))
            return fail(ERR_CANCELLED, "interrupted");
        /* Rows whose logits nobody wants leave the forward early; a tap wants to see them all. */
        TRY(score_run(r->scorer, &window, r->o->model.tap ? 0 : r->first, take, r));
    }
    return r->save ? gguf_commit(r->save) : OK;
}

static struct perplexity_result result_of(const struct run *r)
{
    struct perplexity_result out = {.tokens = r->all.n,
                                    .windows = r->windows,
                                    .scored = r->nll.n,
                                    .window = r->window,
                                    .nll = mean_of(&r->nll),
                                    .divergence = mean_of(&r->divergence),
                                    .divergence_most = r->divergence_most,
                                    .top = mean_of(&r->top),
                                    .log_ratio = mean_of(&r->ratio),
                                    .logit_most = r->logit_most};

    out.perplexity.value = exp(out.nll.value);
    out.perplexity.error = out.perplexity.value * out.nll.error;
    if (r->divergence.n)
        out.logit_mean = r->logit_sum / ((double)r->divergence.n * (double)r->n_vocab);
    return out;
}

enum status perplexity_run(const struct perplexity_options *o, struct perplexity_result *out)
{
    struct run r = {.o = o};
    enum status s;

    arena_init(&r.arena, 0);
    s = run_all(&r);
    *out = result_of(&r);
    if (s == OK && o->after)
        s = o->after(o->ctx, score_model(r.scorer), out);
    gguf_close(r.save);
    checkpoint_close(r.reference);
    score_close(r.scorer);
    arena_clear(&r.arena);
    return s;
}
