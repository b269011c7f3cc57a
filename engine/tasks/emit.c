/* emit.c - from a sampled token to the caller's events: end tokens, text, stop strings,
 * log-probabilities.
 *
 * Text leaves as soon as no stop string can begin in it, and a token's record leaves with its text;
 * what a stop string swallows is never reported. */
#include <math.h>
#include <string.h>

#include "engine/tasks/generate.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

static int n_generated(const struct seq *s)
{
    return s->n_tok - s->n_prompt;
}

static void push_token(struct seq *s, int32_t id)
{
    if (s->n_tok == s->cap) {
        s->cap += s->cap / 2 + 64;
        s->tok = xrealloc(s->tok, sizeof *s->tok * (size_t)s->cap);
    }
    s->tok[s->n_tok++] = id;
}

static struct token_info info_of(const struct sample_out *o, struct token_logprob *top, int n_top)
{
    int n = o->n_top < n_top ? o->n_top : n_top;
    for (int i = 0; i < n; i++)
        top[i] = (struct token_logprob){o->top_id[i], o->top_logprob[i]};
    return (struct token_info){o->token, o->logprob, o->rank, top, n < 0 ? 0 : n};
}

static int top_stride(const struct seq *s)
{
    return s->job->spec.top_logprobs > 0 ? s->job->spec.top_logprobs : 1;
}

static void hold(struct seq *s, const struct sample_out *o, size_t start)
{
    const size_t stride = (size_t)top_stride(s);
    if (s->n_held == s->cap_held) {
        s->cap_held = s->cap_held ? s->cap_held * 2 : 8;
        s->held = xrealloc(s->held, sizeof *s->held * (size_t)s->cap_held);
        s->held_top = xrealloc(s->held_top, sizeof *s->held_top * stride * (size_t)s->cap_held);
    }
    struct token_logprob *top = s->held_top + stride * (size_t)s->n_held;
    s->held[s->n_held++] = (struct held){info_of(o, top, s->job->spec.top_logprobs), start};
}

/* Gives out `text` and the held tokens that begin before `before`. */
static void give(struct seq *s, struct bytes text, size_t before)
{
    int n = 0;
    while (n < s->n_held && s->held[n].start < before)
        n++;
    s->emitted += text.n;
    if (n == 0 && text.n == 0)
        return;
    const size_t stride = (size_t)top_stride(s);
    struct token_info *info = n ? xmalloc(sizeof *info * (size_t)n) : NULL;
    for (int i = 0; i < n; i++) {
        info[i] = s->held[i].info;
        info[i].top = s->held_top + stride * (size_t)i;
    }
    struct event ev = {
        .kind = EVENT_TEXT, .choice = s->choice, .text = text, .token = info, .n_tokens = n};
    job_emit(s->job, &ev);
    xfree(info);
    s->n_held -= n;
    if (s->n_held > 0) {
        memmove(s->held, s->held + n, sizeof *s->held * (size_t)s->n_held);
        memmove(s->held_top, s->held_top + stride * (size_t)n,
                sizeof *s->held_top * stride * (size_t)s->n_held);
    }
}

static bool ends(const struct task_state *g, const struct seq *s, int32_t id)
{
    const struct job_spec *spec = &s->job->spec;
    for (int i = 0; i < spec->n_stop_token; i++)
        if (spec->stop_token[i] == id)
            return true;
    return !spec->ignore_eos && g->m->tok && tokenizer_is_end(g->m->tok, id);
}

static void decode(const struct task_state *g, struct seq *s, int32_t id, struct buf *out)
{
    if (g->m->tok) {
        detok_push(g->m->tok, &s->detok, id, s->job->spec.special_text, out);
    } else {
        struct bytes piece = model_piece(g->m, id);
        buf_append(out, piece.p, piece.n);
    }
}

/* The end of a choice's text without a stop string: everything held is certain now. */
static void flush(struct seq *s)
{
    struct buf tail = {0}, out = {0};
    int which;
    detok_flush(&s->detok, &tail);
    if (!stop_push(&s->stop, (struct bytes){tail.data, tail.len}, s->job->spec.include_stop, &out,
                   &which))
        stop_flush(&s->stop, &out);
    give(s, (struct bytes){out.data, out.len}, SIZE_MAX);
    buf_clear(&tail);
    buf_clear(&out);
}

static void note_time(struct task_state *g, struct seq *s)
{
    double now = clock_now();
    if (s->last_token > 0)
        histogram_add(&g->w->stats.itl, now - s->last_token);
    else
        histogram_add(&g->w->stats.ttft, now - s->job->submitted);
    if (s->of->first_token <= 0) {
        s->of->first_token = now;
        histogram_add(&g->w->stats.prefill_time, now - s->of->began);
    }
    s->last_token = now;
    counter_add(&g->w->stats.generated_tokens, 1);
}

void gen_token(struct task_state *g, struct seq *s, const struct sample_out *o)
{
    const struct job_spec *spec = &s->job->spec;
    push_token(s, o->token);
    s->of->completion++;
    note_time(g, s);
    if (ends(g, s, o->token)) {
        flush(s);
        gen_end(g, s, FINISH_STOP, NULL);
        return;
    }
    struct buf text = {0}, out = {0};
    int which = -1;
    hold(s, o, s->pushed);
    decode(g, s, o->token, &text);
    s->pushed += text.len;
    struct bytes piece = {text.data, text.len};
    bool stopped = false;
    if (n_generated(s) < spec->min_tokens)
        buf_append(&out, piece.p, piece.n);
    else
        stopped = stop_push(&s->stop, piece, spec->include_stop, &out, &which);
    /* A token without text (half a character) leaves once nothing before it is held back. */
    bool clear = s->stop.held.len == 0 && !stopped;
    give(s, (struct bytes){out.data, out.len}, clear ? SIZE_MAX : s->emitted + out.len);
    buf_clear(&text);
    buf_clear(&out);
    if (stopped) {
        gen_end(g, s, FINISH_STOP, spec->stop[which].p);
    } else if (s->n_tok >= s->limit) {
        flush(s);
        gen_end(g, s, FINISH_LENGTH, NULL);
    }
}

void gen_scored(struct seq *s, int pos, const struct sample_out *o)
{
    struct token_logprob *top = s->of->scored_top + (size_t)top_stride(s) * (size_t)pos;
    s->of->scored[pos] = info_of(o, top, s->job->spec.top_logprobs);
}

void gen_prompt_done(struct seq *s)
{
    struct gen_job *gj = s->of;
    if (!gj->scored)
        return;
    gj->scored[0] = (struct token_info){.token = s->tok[0], .logprob = NAN};
    struct event ev = {.kind = EVENT_PROMPT, .token = gj->scored, .n_tokens = s->n_prompt};
    job_emit(s->job, &ev);
    xfree(gj->scored);
    xfree(gj->scored_top);
    gj->scored = NULL;
    gj->scored_top = NULL;
}

void gen_end(struct task_state *g, struct seq *s, enum finish reason, const char *stop_word)
{
    struct gen_job *gj = s->of;
    struct engine_stats *st = &g->w->stats;
    s->state = SEQ_ENDED;
    histogram_add(&st->output_len, n_generated(s));
    struct event ev = {
        .kind = EVENT_FINISH, .choice = s->choice, .reason = reason, .stop_word = stop_word};
    job_emit(s->job, &ev);
    gj->longest = n_generated(s) > gj->longest ? (int)n_generated(s) : gj->longest;
    if (++gj->n_ended < gj->n)
        return;
    struct event done = {.kind = EVENT_DONE, .usage = {gj->prompt, gj->completion, gj->cached}};
    s->job->ended = true;
    counter_add(&st->jobs_done, 1);
    double now = clock_now();
    histogram_add(&st->e2e, now - s->job->submitted);
    histogram_add(&st->run_time, now - gj->began);
    histogram_add(&st->longest_len, gj->longest);
    if (gj->first_token > 0)
        histogram_add(&st->decode_time, now - gj->first_token);
    job_emit(s->job, &done);
}

void gen_fail(struct task_state *g, struct gen_job *gj, enum status why, const char *message)
{
    if (gj->job->ended)
        return;
    counter_add(why == ERR_CANCELLED ? &g->w->stats.jobs_cancelled : &g->w->stats.jobs_failed, 1);
    job_fail(gj->job, why, message);
    for (int i = 0; i < gj->n; i++)
        gj->seq[i].state = SEQ_ENDED;
}
