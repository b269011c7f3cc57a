/* answer.c - see answer.h. */
#include "api/answer.h"

#include <string.h>

#include "api/sse.h"
#include "kernels/base/clock.h"

/* A prefill longer than this commits a streamed call to its stream, seconds. */
static const double commit_after = 3;

/* ---- printing ---- */

void answer_write_finish(const struct choice *ch, struct buf *out)
{
    static const char *const name[] = {
        [FINISH_NONE] = "null", [FINISH_STOP] = "\"stop\"", [FINISH_LENGTH] = "\"length\""};

    buf_printf(out, "\"finish_reason\":%s", name[ch->reason]);
    if (ch->stop_word.n) {
        buf_puts(out, ",\"stop_reason\":");
        json_write_string(out, ch->stop_word.p, ch->stop_word.n);
    }
}

static void write_head(const struct call *c, const struct answer *an, const char *object,
                       struct buf *out)
{
    const char *id = model_info(an->model)->id;

    buf_printf(out, "{\"id\":\"%s%s\",\"object\":\"%s\",\"created\":%lld,\"model\":",
               an->dialect->id_prefix, c->id, object, (long long)an->created);
    json_write_string(out, id, strlen(id));
    buf_puts(out, ",\"choices\":[");
}

static void write_usage(const struct usage *u, struct buf *out)
{
    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
               "\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":%lld},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
               (long long)u->prompt, (long long)u->completion,
               (long long)(u->prompt + u->completion), (long long)u->cached);
}

typedef void write_choice_fn(const struct answer *an, int i, struct buf *out);

/* One frame: a chunk whose choice `fn` prints; NULL: the usage chunk, which has no choice. */
static void send_chunk(struct call *c, struct answer *an, int i, write_choice_fn *fn)
{
    sse_begin(&c->out);
    write_head(c, an, an->dialect->chunk_object, &c->out);
    if (fn)
        fn(an, i, &c->out);
    buf_putc(&c->out, ']');
    if (!fn) {
        buf_putc(&c->out, ',');
        write_usage(&c->usage, &c->out);
    } else if (an->include_usage) {
        buf_puts(&c->out, ",\"usage\":null");
    }
    buf_putc(&c->out, '}');
    sse_end(&c->out);
    an->last_sent = clock_now();
}

/* Streamed: sends what a choice has gathered. */
static void send_text(struct call *c, struct answer *an, int i)
{
    struct choice *ch = &an->choice[i];

    if (!ch->opened && an->dialect->open)
        send_chunk(c, an, i, an->dialect->open);
    ch->opened = true;
    if (ch->text.len == 0 && ch->logprobs.n == 0)
        return;
    send_chunk(c, an, i, an->dialect->delta);
    buf_reset(&ch->text);
    logprobs_reset(&ch->logprobs);
}

static void reply_whole(struct call *c, struct answer *an)
{
    write_head(c, an, an->dialect->object, &c->out);
    for (int i = 0; i < an->n_prompts * an->n; i++) {
        if (i)
            buf_putc(&c->out, ',');
        an->dialect->whole(an, i, &c->out);
    }
    buf_puts(&c->out, "],");
    write_usage(&c->usage, &c->out);
    buf_putc(&c->out, '}');
    call_reply_json(c, 200);
}

/* ---- events ---- */

/* Streamed: the first thing to say is here, so the status line goes out. */
static void commit(struct call *c, struct answer *an)
{
    if (an->stream && c->phase == PHASE_WAIT)
        sse_open(c);
}

/* Echo: the choices of a prompt begin with it. */
static void begin_text(struct answer *an, struct choice *ch, int prompt)
{
    if (an->echo && !ch->opened && ch->text.len == 0)
        buf_append(&ch->text, an->echo[prompt].p, an->echo[prompt].n);
}

static void take_prompt(struct answer *an, int prompt, const struct event *e)
{
    for (int i = 0; i < an->n && an->echo && an->with_logprobs; i++)
        logprobs_add_prompt(&an->choice[prompt * an->n + i].logprobs, an->model, an->echo[prompt],
                            e);
}

static void take_text(struct call *c, struct answer *an, int i, const struct event *e)
{
    struct choice *ch = &an->choice[i];

    begin_text(an, ch, i / an->n);
    buf_append(&ch->text, e->text.p, e->text.n);
    for (int k = 0; k < e->n_tokens && an->with_logprobs; k++)
        an->dialect->logprob(&ch->logprobs, an->model, &e->token[k]);
    ch->n_tokens += e->n_tokens;
    c->usage.completion += e->n_tokens;
    if (an->stream)
        send_text(c, an, i);
}

static void take_finish(struct api *a, struct call *c, int i, const struct event *e)
{
    struct answer *an = c->state;
    struct choice *ch = &an->choice[i];

    begin_text(an, ch, i / an->n);
    if (an->stream)
        send_text(c, an, i);
    ch->reason = e->reason;
    if (e->stop_word) {
        ch->stop_word.n = strlen(e->stop_word);
        ch->stop_word.p = arena_strndup(&c->arena, e->stop_word, ch->stop_word.n);
    }
    counter_add(&a->finished[ch->reason], 1);
    if (an->stream)
        send_chunk(c, an, i, an->dialect->last);
}

static void take_progress(struct call *c, struct answer *an, const struct event *e)
{
    if (!an->stream || c->phase != PHASE_WAIT || clock_now() - c->started < commit_after)
        return;
    commit(c, an);
    buf_printf(&c->out, ": prefill %lld of %lld tokens\n\n", (long long)e->done,
               (long long)e->total);
    an->last_sent = clock_now();
}

/* The engine's count of tokens takes the place of ours, which serves calls that end early. */
static void take_done(struct call *c, struct answer *an, int job, const struct event *e)
{
    an->live--;
    c->usage.cached += e->usage.cached;
    c->usage.completion += e->usage.completion;
    for (int i = 0; i < an->n; i++)
        c->usage.completion -= an->choice[job * an->n + i].n_tokens;
}

static enum status take_event(struct api *a, struct call *c, int job, const struct event *e)
{
    struct answer *an = c->state;
    const int i = job * an->n + e->choice;

    switch (e->kind) {
    case EVENT_PROGRESS:
        take_progress(c, an, e);
        return OK;
    case EVENT_PROMPT:
        take_prompt(an, job, e);
        return OK;
    case EVENT_TEXT:
        commit(c, an);
        take_text(c, an, i, e);
        return OK;
    case EVENT_FINISH:
        commit(c, an);
        take_finish(a, c, i, e);
        return OK;
    case EVENT_DONE:
        take_done(c, an, job, e);
        return OK;
    case EVENT_ERROR:
        break;
    }
    an->live--;
    return fail(e->status, "%s", e->message ? e->message : status_name(e->status));
}

/* ---- the call ---- */

static enum status submit(struct api *a, struct call *c, struct answer *an, struct job_spec *spec)
{
    for (int i = 0; i < an->n_prompts; i++) {
        enum status s;

        spec->prompt = an->prompt[i];
        s = engine_submit(a->engine, spec, bell_ring, c->bell, &c->job[i]);
        if (s == ERR_CONTEXT) /* the engine knows no fields */
            return fail_field(s, an->dialect->prompt_field, "%s", fail_text());
        if (s != OK)
            return s;
        c->n_jobs++;
        c->usage.prompt += an->prompt[i].n;
    }
    return OK;
}

enum status answer_params(struct api *a, struct call *c, const struct params *p,
                          const struct dialect *dialect, struct answer *an, struct job_spec *spec)
{
    if (p->model.has)
        TRY(call_check_model(a, an->model, p->model.v));
    an->dialect = dialect;
    an->stream = p->stream.v;
    an->include_usage = p->include_usage.v;
    return params_spec(p, an->model, &c->arena, spec);
}

enum status answer_start(struct api *a, struct call *c, struct answer *an, struct job_spec *spec)
{
    spec->request_id = c->id;
    an->n = spec->n;
    an->live = an->n_prompts;
    an->created = clock_unix();
    an->last_sent = c->started;
    an->choice = arena_calloc(&c->arena, sizeof *an->choice * (size_t)(an->n_prompts * an->n));
    c->state = an;
    c->job = arena_calloc(&c->arena, sizeof(struct job *) * (size_t)an->n_prompts);
    c->bell = bell_new(&c->arena, c->wake, c->wake_ctx);
    TRY(submit(a, c, an, spec));
    c->phase = PHASE_WAIT;
    return OK;
}

static void keep_alive(struct api *a, struct call *c, struct answer *an)
{
    double now = clock_now();

    if (c->phase != PHASE_STREAM)
        return;
    if (c->out.len == 0 && now - an->last_sent >= a->o.keepalive) {
        sse_comment(&c->out, "keep-alive");
        an->last_sent = now;
    }
    c->wake_at = an->last_sent + a->o.keepalive;
}

enum status answer_resume(struct api *a, struct call *c)
{
    struct answer *an = c->state;
    struct event e;

    for (int i = 0; i < c->n_jobs; i++) {
        while (job_next(c->job[i], &e))
            TRY(take_event(a, c, i, &e));
    }
    if (an->live) {
        keep_alive(a, c, an);
        return OK;
    }
    if (!an->stream) {
        reply_whole(c, an);
        return OK;
    }
    if (an->include_usage)
        send_chunk(c, an, 0, NULL);
    sse_done(c);
    return OK;
}

void answer_end(struct call *c)
{
    struct answer *an = c->state;

    for (int i = 0; an && i < an->n_prompts * an->n; i++) {
        buf_clear(&an->choice[i].text);
        logprobs_clear(&an->choice[i].logprobs);
    }
}
