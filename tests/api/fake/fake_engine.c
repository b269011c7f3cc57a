/* fake_engine.c - see fake_engine.h. It defines every function of engine.h, so that no object of
 * the real engine is ever taken from the library. One lock guards all jobs: like the real one it
 * calls `wake` under it, and only when an event comes into an empty queue. */
#include "tests/api/fake/fake_engine.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { MAX_JOBS = 600, MAX_TOKENS = 256 };

struct job {
    struct fake_job seen;
    int index;
    const struct event *script;
    int n_script, n_visible, n_taken;
    int64_t completion;
    void (*wake)(void *);
    void *ctx;
    struct token_info token[MAX_TOKENS]; /* of the event taken last */
    struct token_logprob top[MAX_TOKENS];
};
struct engine {
    struct engine_progress progress;
    struct engine_stats stats;
    const struct event *script;
    int n_script;
    bool manual, behind_look;
    int refuse_at;
    enum status refuse;
    const char *refuse_message;
    struct job *job[MAX_JOBS];
    int n_jobs;
};
struct model {
    struct model_info info;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine engine;
static const double bounds[] = {0.1, 1, 10};
static struct model model = {{.id = "fake/model-1",
                              .arch = "fake",
                              .format = "f32",
                              .path = "/models/fake.gguf",
                              .created = 1700000000,
                              .context = FAKE_CONTEXT,
                              .context_trained = 8192,
                              .n_params = 1000,
                              .bytes = 4000,
                              .n_vocab = FAKE_VOCAB,
                              .has_template = true,
                              .bos = "<s>",
                              .eos = "</s>",
                              .device = "cpu",
                              .kernels = "none",
                              .n_layers = 4,
                              .gpu_layers = 3,
                              .gpu = "{\"id\":\"l4\"}",
                              .sampling = {.temperature = 1, .top_p = 1, .repetition = 1}}};

/* ---- the test's side ---- */

void fake_asks(const struct sampling *s, int64_t max_tokens)
{
    sampling_default(&model.info.sampling);
    if (s)
        model.info.sampling = *s;
    model.info.max_tokens = max_tokens;
}

void fake_reset(void)
{
    for (int i = 0; i < engine.n_jobs; i++)
        xfree(engine.job[i]);
    memset(&engine, 0, sizeof engine);
    engine.progress.state = ENGINE_READY;
    engine.refuse_at = -1;
    struct histogram *h[] = {
        &engine.stats.ttft,        &engine.stats.itl,          &engine.stats.e2e,
        &engine.stats.queue_time,  &engine.stats.prompt_len,   &engine.stats.output_len,
        &engine.stats.step_time,   &engine.stats.prefill_time, &engine.stats.decode_time,
        &engine.stats.run_time,    &engine.stats.longest_len,  &engine.stats.asked_n,
        &engine.stats.asked_tokens};
    for (size_t i = 0; i < sizeof h / sizeof *h; i++)
        histogram_init(h[i], bounds, 3);
}

struct engine *fake_engine(void)
{
    return &engine;
}

void fake_state(enum engine_state state, const char *stage, double done)
{
    engine.progress.state = state;
    snprintf(engine.progress.stage, sizeof engine.progress.stage, "%s", stage);
    snprintf(engine.progress.message, sizeof engine.progress.message, "%s", stage);
    engine.progress.done = done;
}

void fake_script(const struct event *event, int n)
{
    engine.script = event;
    engine.n_script = n;
}

void fake_automatic(bool on)
{
    engine.manual = !on;
}

bool fake_release(int i)
{
    struct job *j;
    bool more;

    pthread_mutex_lock(&lock);
    j = engine.job[i];
    more = j->n_visible < j->n_script && !j->seen.put;
    if (more && j->n_visible++ == j->n_taken)
        j->wake(j->ctx);
    pthread_mutex_unlock(&lock);
    return more;
}

void fake_release_behind_look(void)
{
    engine.behind_look = true;
}

void fake_refuse(int k, enum status s, const char *message)
{
    engine.refuse_at = engine.n_jobs + k;
    engine.refuse = s;
    engine.refuse_message = message;
}

int fake_n_jobs(void)
{
    int n;

    pthread_mutex_lock(&lock);
    n = engine.n_jobs;
    pthread_mutex_unlock(&lock);
    return n;
}

const struct fake_job *fake_job(int i)
{
    return &engine.job[i]->seen;
}

struct engine_stats *fake_stats(void)
{
    return &engine.stats;
}

/* ---- engine.h: opening ---- */

enum status engine_open(const struct engine_options *o, void (*on_state)(void *), void *ctx,
                        struct engine **out)
{
    (void)o;
    if (on_state)
        on_state(ctx);
    *out = &engine;
    return OK;
}

void engine_progress(struct engine *e, struct engine_progress *out)
{
    *out = e->progress;
}

void engine_drain(struct engine *e)
{
    e->progress.state = ENGINE_DRAINING;
}

bool engine_idle(struct engine *e)
{
    for (int i = 0; i < e->n_jobs; i++) {
        if (!e->job[i]->seen.put)
            return false;
    }
    return true;
}

void engine_close(struct engine *e)
{
    (void)e;
}

const struct engine_stats *engine_stats(struct engine *e)
{
    return &e->stats;
}

/* ---- engine.h: the model ---- */

const struct model *engine_model(struct engine *e)
{
    bool loaded = e->progress.state == ENGINE_READY || e->progress.state == ENGINE_DRAINING;

    return loaded ? &model : NULL;
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

struct bytes model_piece(const struct model *m, int32_t token)
{
    static const char *const word[] = {"<s>", "</s>", "Hello", " world", "a"};
    static char byte[256];

    (void)m;
    if (token >= 256)
        return bytes_of(word[token - 256]);
    pthread_mutex_lock(&lock);
    byte[token] = (char)token;
    pthread_mutex_unlock(&lock);
    return (struct bytes){&byte[token], 1};
}

/* The variables as JSON. A message that says RAISE makes it raise. */
enum status model_render(const struct model *m, const struct json *vars, struct buf *out)
{
    (void)m;
    json_write(out, vars);
    if (strstr(out->data, "RAISE"))
        return fail(ERR_TEMPLATE, "the chat template raised: roles must alternate");
    return OK;
}

enum status model_tokenize(const struct model *m, struct arena *a, struct bytes text, bool special,
                           enum around around, struct token_list *out)
{
    size_t i = 0;

    (void)m;
    out->id = arena_alloc(a, (text.n + 1) * sizeof *out->id);
    if (!out->id)
        return fail(ERR_TOO_LARGE, "the text is too long");
    out->n = 0;
    if (around && text.n)
        out->id[out->n++] = FAKE_BOS;
    while (i < text.n) {
        bool end = special && text.n - i >= 4 && memcmp(text.p + i, "</s>", 4) == 0;

        out->id[out->n++] = end ? FAKE_EOS : (unsigned char)text.p[i];
        i += end ? 4 : 1;
    }
    return OK;
}

/* ---- engine.h: jobs ---- */

void sampling_default(struct sampling *s)
{
    *s = (struct sampling){.temperature = 1, .top_p = 1, .repetition = 1};
}

static void keep_spec(struct fake_job *f, const struct job_spec *spec)
{
    struct buf text = {0};

    f->spec = *spec;
    f->n_prompt = spec->prompt.n;
    for (int i = 0; i < spec->prompt.n; i++) {
        struct bytes piece = model_piece(&model, spec->prompt.id[i]);

        if (i < 64)
            f->prompt_id[i] = spec->prompt.id[i];
        buf_append(&text, piece.p, piece.n);
    }
    snprintf(f->prompt, sizeof f->prompt, "%s", text.data);
    buf_clear(&text);
    for (int i = 0; i < spec->n_stop && i < 8; i++)
        snprintf(f->stop[i], sizeof f->stop[i], "%s", spec->stop[i].p);
    for (int i = 0; i < spec->n_stop_token && i < 8; i++)
        f->stop_token[i] = spec->stop_token[i];
    for (int i = 0; i < spec->sampling.n_bias && i < 8; i++)
        f->bias[i] = spec->sampling.bias[i];
}

enum status engine_submit(struct engine *e, const struct job_spec *spec, void (*wake)(void *),
                          void *ctx, struct job **out)
{
    int64_t asked = spec->prompt.n + (spec->max_tokens_given ? spec->max_tokens : 0);
    int n = fake_n_jobs();
    struct job *j;

    if (e->progress.state == ENGINE_DRAINING)
        return fail(ERR_DRAINING, "the service is shutting down");
    if (e->refuse_at >= 0 && n >= e->refuse_at)
        return fail(e->refuse, "%s", e->refuse_message);
    if (asked > FAKE_CONTEXT)
        return fail(ERR_CONTEXT, "the context is %d tokens, but %lld were asked for", FAKE_CONTEXT,
                    (long long)asked);
    if (n == MAX_JOBS)
        return fail(ERR_QUEUE_FULL, "the queue is full");
    j = xcalloc(1, sizeof *j);
    keep_spec(&j->seen, spec);
    j->script = e->script;
    j->n_script = e->n_script;
    j->n_visible = e->manual ? 0 : e->n_script;
    j->wake = wake;
    j->ctx = ctx;
    *out = j;
    pthread_mutex_lock(&lock);
    j->index = e->n_jobs;
    e->job[e->n_jobs++] = j;
    if (!e->manual && e->n_script)
        wake(ctx);
    pthread_mutex_unlock(&lock);
    return OK;
}

/* One token for each byte: log probability -1, itself the best one. */
static void make_tokens(struct job *j, struct event *e)
{
    for (size_t i = 0; i < e->text.n && i < MAX_TOKENS; i++) {
        int32_t id = (unsigned char)e->text.p[i];

        j->top[i] = (struct token_logprob){id, -1};
        j->token[i] = (struct token_info){id, -1, 0, &j->top[i], j->seen.spec.top_logprobs > 0};
        e->n_tokens++;
    }
    e->token = j->token;
}

bool job_next(struct job *j, struct event *out)
{
    bool some;

    pthread_mutex_lock(&lock);
    some = j->n_taken < j->n_visible;
    if (some)
        *out = j->script[j->n_taken++];
    pthread_mutex_unlock(&lock);
    if (!some && engine.behind_look) {
        engine.behind_look = false;
        fake_release(j->index);
    }
    if (!some)
        return false;
    if (out->kind == EVENT_TEXT && out->n_tokens == 0)
        make_tokens(j, out);
    if (out->kind == EVENT_TEXT)
        j->completion += out->n_tokens;
    if (out->kind == EVENT_DONE && out->usage.prompt == 0)
        out->usage = (struct usage){j->seen.n_prompt, j->completion, out->usage.cached};
    return true;
}

void job_cancel(struct job *j)
{
    pthread_mutex_lock(&lock);
    j->seen.cancelled = true;
    pthread_mutex_unlock(&lock);
}

void job_put(struct job *j)
{
    pthread_mutex_lock(&lock);
    j->seen.cancelled |= j->n_taken < j->n_script;
    j->seen.put = true;
    pthread_mutex_unlock(&lock);
}

/* ---- engine.h: files ---- */

enum status engine_inspect(const char *path, struct buf *out)
{
    buf_puts(out, path);
    return OK;
}

enum status engine_plan(const struct engine_options *o, struct buf *out)
{
    (void)o;
    buf_puts(out, "nothing");
    return OK;
}

enum status model_open_text(const char *path, struct model **out)
{
    (void)path;
    *out = NULL;
    return fail(ERR_UNSUPPORTED, "the fake engine opens no files");
}

void model_close_text(struct model *m)
{
    (void)m;
}
