/* generate.c - the task: tokens in, tokens out. Opening, submission, launching and finishing steps.
 */
#include "engine/tasks/generate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/tasks/tasks.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

/* ---- open and close -------------------------------------------------------------------------- */

static void find_ends(struct task_state *g)
{
    for (int32_t id = 0; g->m->tok && id < tokenizer_n_vocab(g->m->tok); id++)
        if (tokenizer_is_end(g->m->tok, id)) {
            g->end = xrealloc(g->end, sizeof *g->end * (size_t)(g->n_ends + 1));
            g->end[g->n_ends++] = id;
        }
}

/* The same arrays and page numbers for the device that has the first layers. */
static void open_lower(struct task_state *g)
{
    struct worker *w = g->w;
    g->lower_pack = pack_share(&g->pack, w->lower_region[REGION_ROWS]);
    gen_memories(&g->net->hp, &w->limits, &w->need, SIDE_LOWER, w->lower_region[REGION_KV],
                 g->lower_mem);
    g->lower_mem[MEMORY_KV].table = g->lower_pack.table;
    g->lower_mem[MEMORY_KV].table_stride = g->max.table_stride;
    g->lower = w->on.dev[SIDE_LOWER]->backend->queue(w->on.dev[SIDE_LOWER]);
}

static enum status gen_open(struct worker *w, struct task_state **out)
{
    struct task_state *g = xcalloc(1, sizeof *g);
    g->w = w;
    g->m = w->model;
    g->net = &w->model->net;
    g->kv = kv_new(w->need.n_pages, w->need.page_tokens, w->limits.prefix_cache);
    g->max = gen_sizes(&w->limits, w->need.page_tokens);
    pack_open(&g->pack, &g->max, w->region[REGION_ROWS]);
    g->counts = (uint16_t *)((char *)w->region[REGION_ROWS] + pack_device_bytes(&g->max));
    gen_memories(&g->net->hp, &w->limits, &w->need, SIDE_UPPER, w->region[REGION_KV], g->mem);
    g->mem[MEMORY_KV].table = g->pack.table;
    g->mem[MEMORY_KV].table_stride = g->max.table_stride;
    if (w->on.dev[SIDE_LOWER])
        open_lower(g);
    g->slot = xcalloc((size_t)g->max.slots, sizeof(struct seq *));
    g->running = xcalloc((size_t)g->max.slots, sizeof(struct seq *));
    for (int i = 0; i < RING; i++)
        g->plan[i].part = xcalloc((size_t)g->max.seqs, sizeof(struct part));
    g->waiting_end = &g->waiting;
    g->reuse = g->net->hp.n_kind[MEMORY_STATE] == 0;
    find_ends(g);
    gauge_set(&w->stats.kv_pages_total, w->need.n_pages);
    gauge_set(&w->stats.kv_page_tokens, w->need.page_tokens);
    gauge_set(&w->stats.running_max, w->limits.max_seqs);
    *out = g;
    return OK;
}

static void gen_close(struct task_state *g)
{
    kv_free(g->kv);
    pack_close(&g->pack);
    for (int i = 0; i < RING; i++)
        xfree(g->plan[i].part);
    xfree(g->slot);
    xfree(g->running);
    xfree(g->job);
    xfree(g->end);
    xfree(g);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static enum status check_numbers(const struct model *m, const struct job_spec *j)
{
    if (j->n < 1 || j->n > JOB_MAX_CHOICES)
        return fail_field(ERR_INVALID, "n", "n is %d, must be 1 to %d", j->n, JOB_MAX_CHOICES);
    if (j->top_logprobs > JOB_MAX_TOP)
        return fail_field(ERR_INVALID, "top_logprobs",
                          "top_logprobs is %d, at most %d are possible", j->top_logprobs,
                          JOB_MAX_TOP);
    if (j->n_stop > JOB_MAX_STOPS)
        return fail_field(ERR_INVALID, "stop", "%d stop strings, at most %d are possible",
                          j->n_stop, JOB_MAX_STOPS);
    /* 64: end tokens of the vocabulary, which min_tokens bans */
    if (j->sampling.n_bias + j->n_stop_token + 64 > BIAS_PER_JOB)
        return fail_field(ERR_INVALID, "logit_bias", "%d entries, at most %d are possible",
                          j->sampling.n_bias, BIAS_PER_JOB - 64 - j->n_stop_token);
    for (int i = 0; i < j->sampling.n_bias; i++)
        if (j->sampling.bias[i].token < 0 || j->sampling.bias[i].token >= m->net.hp.n_vocab)
            return fail_field(ERR_INVALID, "logit_bias",
                              "token %d does not exist: the vocabulary has %d",
                              j->sampling.bias[i].token, m->net.hp.n_vocab);
    return OK;
}

static enum status gen_check(const struct model *m, const struct limits *l,
                             const struct job_spec *j)
{
    TRY(check_numbers(m, j));
    if (j->prompt.n < 1)
        return fail_field(ERR_INVALID, "prompt", "the prompt has no token");
    for (int i = 0; i < j->prompt.n; i++)
        if (j->prompt.id[i] < 0 || j->prompt.id[i] >= m->net.hp.n_vocab)
            return fail_field(ERR_INVALID, "prompt",
                              "token %d at index %d does not exist: the vocabulary has %d",
                              j->prompt.id[i], i, m->net.hp.n_vocab);
    int64_t max = j->max_tokens_given ? j->max_tokens : 0, room = l->context - j->prompt.n;
    if (room < max)
        return fail(ERR_CONTEXT,
                    "the model's context is %lld tokens, but %lld were asked for: %d of the prompt "
                    "and %lld to generate",
                    (long long)l->context, (long long)(j->prompt.n + max), j->prompt.n,
                    (long long)max);
    if (room < 1 && !(j->max_tokens_given && max == 0))
        return fail(ERR_CONTEXT, "the model's context is %lld tokens, but the prompt alone has %d",
                    (long long)l->context, j->prompt.n);
    return OK;
}

static void seq_init(struct task_state *g, struct gen_job *gj, int choice, uint64_t seed)
{
    struct job *j = gj->job;
    const struct job_spec *spec = &j->spec;
    struct seq *s = &gj->seq[choice];
    int n = spec->prompt.n;
    int64_t room = g->w->limits.context - n, max = spec->max_tokens;
    bool open_end = !spec->max_tokens_given && (max <= 0 || max > room);
    *s = (struct seq){.of = gj, .job = j, .choice = choice, .slot = -1, .n_tok = n, .n_prompt = n};
    s->cap = n + 64;
    s->limit = n + (open_end ? room : max);
    s->tok = xmalloc(sizeof *s->tok * (size_t)s->cap);
    memcpy(s->tok, spec->prompt.id, sizeof *s->tok * (size_t)n);
    /* What follows a text keeps its first space; what follows a bare BOS is a beginning. */
    s->detok.started = n > 1 || !g->m->tok || s->tok[0] != tokenizer_bos(g->m->tok);
    s->seed = seed + (uint64_t)choice;
    stop_init(&s->stop, spec->stop, spec->n_stop);
    *g->waiting_end = s;
    g->waiting_end = &s->next;
}

static void gen_submit(struct task_state *g, struct job *j)
{
    const struct job_spec *spec = &j->spec;
    int n = spec->n;
    struct gen_job *gj = xcalloc(1, sizeof *gj + sizeof(struct seq) * (size_t)n);
    gj->job = j;
    gj->n = gj->n_left = n;
    gj->prompt = spec->prompt.n;
    j->state = gj;
    if (spec->prompt_logprobs) {
        size_t stride = spec->top_logprobs > 0 ? (size_t)spec->top_logprobs : 1;
        gj->scored = xcalloc((size_t)spec->prompt.n, sizeof *gj->scored);
        gj->scored_top = xcalloc((size_t)spec->prompt.n * stride, sizeof *gj->scored_top);
    }
    if (g->n_jobs == g->cap_jobs) {
        g->cap_jobs = g->cap_jobs ? g->cap_jobs * 2 : 16;
        g->job = xrealloc(g->job, sizeof(struct gen_job *) * (size_t)g->cap_jobs);
    }
    g->job[g->n_jobs++] = gj;
    uint64_t seed = spec->sampling.has_seed ? spec->sampling.seed : rng_seed();
    for (int i = 0; i < n; i++)
        seq_init(g, gj, i, seed);
    counter_add(&g->w->stats.prompt_tokens, (uint64_t)spec->prompt.n);
    histogram_add(&g->w->stats.prompt_len, spec->prompt.n);
    histogram_add(&g->w->stats.asked_n, n);
    if (spec->max_tokens_given)
        histogram_add(&g->w->stats.asked_tokens, (double)spec->max_tokens);
}

static void free_job(struct task_state *g, struct gen_job *gj)
{
    for (int i = 0; i < gj->n; i++) {
        struct seq *s = &gj->seq[i];
        stop_clear(&s->stop);
        xfree(s->tok);
        xfree(s->held);
        xfree(s->held_top);
    }
    xfree(gj->scored);
    xfree(gj->scored_top);
    worker_job_ended(g->w, gj->job, !gj->started);
    xfree(gj);
}

void gen_reap(struct task_state *g)
{
    int kept = 0;
    for (int i = 0; i < g->n_jobs; i++)
        if (g->job[i]->n_left == 0)
            free_job(g, g->job[i]);
        else
            g->job[kept++] = g->job[i];
    g->n_jobs = kept;
}

static void gen_abort(struct task_state *g, enum status why, const char *message)
{
    for (int i = 0; i < g->n_jobs; i++)
        gen_fail(g, g->job[i], why, message);
    for (int i = 0; i < g->n_running;
         i++) { /* no step is in flight any more, whatever was submitted */
        g->running[i]->in_flight = 0;
        g->running[i]->pending = 0;
    }
    gen_drop_ended(g);
    gen_settle(g);
}

/* ---- launching ------------------------------------------------------------------------------- */

static int add_bias(const struct task_state *g, const struct seq *s, int generated,
                    struct sample_bias *b)
{
    const struct job_spec *spec = &s->job->spec;
    int n = 0;
    for (int i = 0; i < spec->sampling.n_bias; i++)
        b[n++] = (struct sample_bias){spec->sampling.bias[i].token, spec->sampling.bias[i].add};
    if (generated >= spec->min_tokens)
        return n;
    for (int i = 0; i < spec->n_stop_token; i++)
        b[n++] = (struct sample_bias){spec->stop_token[i], -INFINITY};
    for (int i = 0; i < g->n_ends && i < 64; i++)
        b[n++] = (struct sample_bias){g->end[i], -INFINITY};
    return n;
}

static void fill_sample(struct task_state *g, struct step_plan *p, const struct part *t,
                        struct pack_arrays *a)
{
    const struct seq *s = t->seq;
    const struct sampling *o = &s->job->spec.sampling;
    struct sample_row *row = &a->sample[t->want];
    for (int i = 0; i < t->n_score; i++)
        row[i] = (struct sample_row){.slot = s->slot,
                                     .forced = s->tok[t->pos + i + 1],
                                     .n_top = s->job->spec.top_logprobs,
                                     .top_p = 1,
                                     .repetition = 1};
    if (!t->sample)
        return;
    int next = t->pos + t->n; /* the position of the token to choose */
    struct sample_row *r = row + t->n_score;
    *r = (struct sample_row){.slot = s->slot,
                             .forced = -1,
                             .seed = s->seed,
                             .counter = (uint64_t)next,
                             .temperature = o->temperature,
                             .top_p = o->top_p,
                             .min_p = o->min_p,
                             .presence = o->presence,
                             .frequency = o->frequency,
                             .repetition = o->repetition,
                             .top_k = o->top_k,
                             .n_top = s->job->spec.top_logprobs,
                             .bias_first = p->bias};
    r->n_bias = add_bias(g, s, next - s->n_prompt, a->bias + p->bias);
    p->bias += r->n_bias;
}

static void fill_rows(struct task_state *g, struct step_plan *p, struct pack_arrays *a)
{
    int row = 0;
    p->bias = 0;
    for (int i = 0; i < p->n_parts; i++) {
        const struct part *t = &p->part[i];
        const struct seq *s = t->seq;
        a->seq_start[i] = row;
        a->seq_slot[i] = s->slot;
        for (int k = 0; k < t->n_score + t->sample; k++)
            a->want[t->want + k] = k < t->n_score ? row + k : row + t->n - 1;
        for (int k = 0; k < t->n; k++, row++) {
            int pos = t->pos + k;
            a->token[row] = pos < s->n_tok ? s->tok[pos] : TOKEN_FROM_SLOT;
            a->pos[row] = pos;
            a->row_seq[row] = i;
        }
        fill_sample(g, p, t, a);
    }
    a->seq_start[p->n_parts] = row;
    a->live[0] = row;
    a->live[1] = p->n_parts;
    a->want_live[0] = p->want;
}

/* Launch sizes come from a short list, so that a captured graph fits many steps. */
static int bucket(const struct task_state *g, int n, int max)
{
    int b = 1;
    if (g->w->info.exact_rows || n == 0)
        return n;
    while (b < n)
        b = b < 8 || b % 3 == 0 ? (b < 8 ? b * 2 : b / 3 * 4)
                                : b / 2 * 3; /* 1 2 4 8 12 16 24 32 48 64 ... */
    return b < max ? b : max;
}

static enum status upload(struct task_state *g, const struct step *step, const struct step_plan *p)
{
    struct queue *q = g->w->queue;
    const int64_t n_vocab = g->net->hp.n_vocab;
    TRY(pack_upload(&g->pack, step->ring, q, p->bias));
    if (g->lower)
        TRY(pack_upload(&g->lower_pack, step->ring, g->lower, p->bias));
    for (int i = 0; i < p->n_parts; i++) {
        struct seq *s = p->part[i].seq;
        struct pack_pages pages = {s->slot, s->n_table, s->pages.n, s->pages.id};
        if (s->n_table < s->pages.n)
            TRY(pack_table(&g->pack, step->ring, q, &pages));
        if (s->n_table < s->pages.n && g->lower)
            TRY(pack_table(&g->lower_pack, step->ring, g->lower, &pages));
        s->n_table = s->pages.n;
        if (!s->count)
            continue;
        struct op_count c = {.counts = g->counts + s->slot * n_vocab,
                             .n_vocab = n_vocab,
                             .token = s->tok,
                             .n = s->n_tok,
                             .n_prompt = s->n_prompt};
        TRY(op_count(q, &c));
        s->count = false;
    }
    return OK;
}

struct sizes { /* of a step's launches */
    int rows, seqs, want;
    int longest; /* as in struct ragged */
    bool singles;
};

/* Positions of a step are below it: a power of two, so that few graphs are enough. */
static int longest(const struct step_plan *p)
{
    int most = 256;
    for (int i = 0; i < p->n_parts; i++)
        while (most < p->part[i].pos + p->part[i].n)
            most *= 2;
    return most;
}

static struct batch batch_of(const struct pack *pack, const struct memory *mem, struct sizes n)
{
    struct pack_arrays dev = pack_dev(pack);
    struct ragged r = {.rows = n.rows,
                       .seqs = n.seqs,
                       .live = dev.live,
                       .pos = dev.pos,
                       .row_seq = dev.row_seq,
                       .seq_start = dev.seq_start,
                       .seq_slot = dev.seq_slot,
                       .longest = n.longest,
                       .singles = n.singles};
    return (struct batch){.r = r,
                          .token = dev.token,
                          .last = pack->last,
                          .mem = mem,
                          .want = dev.want,
                          .n_want = n.want,
                          .want_live = dev.want_live};
}

/* What of a step is submitted. LOWER: the layers below the cut, which run on the host, at once, and
 * the copy of what they made; UPPER: all that follows, which a graph can hold. */
enum share { WHOLE, LOWER, UPPER };

/* The forward and the sampler, of so many rows of whatever the arrays on the device hold. */
static enum status compute(struct task_state *g, struct sizes n, enum share share)
{
    struct worker *w = g->w;
    struct pack_arrays dev = pack_dev(&g->pack);
    struct batch b = batch_of(&g->pack, g->mem, n), lower;
    const struct batch *first = &b;
    struct pass pass;
    struct output out = {0};
    pass_begin(&pass, w->queue, w->region[REGION_WORK], w->need.bytes[REGION_WORK]);
    if (g->lower) {
        lower = batch_of(&g->lower_pack, g->lower_mem, n);
        first = &lower;
        pass_begin(&pass, g->lower, w->lower_region[REGION_WORK], w->need.lower[REGION_WORK]);
        pass.next = (struct pass_next){
            w->queue, w->limits.cut, w->region[REGION_WORK], w->need.bytes[REGION_WORK],
            &b,       share == LOWER};
        pass.idle = share == UPPER;
        model_vectors(g->m, &w->on, &pass);
    }
    pass.b = first;
    g->net->arch->forward(g->net, &pass, &(struct input){.batch = first}, &out);
    TRY(pass.status);
    if (n.want == 0 || share == LOWER)
        return OK;
    struct op_sample sample = {.logits = out.logits,
                               .row = dev.sample,
                               .bias = dev.bias,
                               .counts = g->counts,
                               .last = g->pack.last,
                               .out = g->pack.out_dev,
                               .n_live = dev.want_live};
    return op_sample(w->queue, &sample);
}

/* ERR_UNSUPPORTED after a log line: this device makes no graph of it, and nothing has run. */
static enum status capture(struct task_state *g, struct sizes n, struct graph **out)
{
    const struct backend *b = g->w->opt.backend;
    enum status s = b->capture(g->w->queue, true, NULL);
    if (s == OK) {
        enum status computed = compute(g, n, UPPER);
        char why[256];
        snprintf(why, sizeof why, "%s", fail_text());
        s = b->capture(g->w->queue, false, out);
        if (computed != OK)
            s = fail(computed, "%s", why);
    }
    if (s == OK)
        return OK;
    log_warn("steps are launched kernel by kernel from now on: %s", fail_text());
    g->no_graphs = true;
    return ERR_UNSUPPORTED;
}

/* A step of single rows: launched the first time, captured the second, replayed since. */
static enum status compute_singles(struct task_state *g, struct sizes n)
{
    const struct backend *b = g->w->opt.backend;
    const struct gen_graph *at = g->graph;
    int i = 0;
    while (i < GRAPHS && at[i].rows && (at[i].rows != n.rows || at[i].longest != n.longest))
        i++;
    if (!b->capture || g->no_graphs || i == GRAPHS)
        return compute(g, n, WHOLE);
    struct gen_graph *e = &g->graph[i];
    if (!e->rows) {
        *e = (struct gen_graph){n.rows, n.longest, NULL};
        return compute(g, n, WHOLE);
    }
    if (!e->graph && capture(g, n, &e->graph) != OK)
        return compute(g, n, WHOLE);
    if (g->lower)
        TRY(compute(g, n, LOWER));
    return b->replay(g->w->queue, e->graph);
}

static enum status gen_launch(struct task_state *g, struct step *step)
{
    struct step_plan *p = step->plan;
    struct pack_arrays host = pack_host(&g->pack, step->ring);
    fill_rows(g, p, &host);
    TRY(upload(g, step, p));
    struct sizes n = {.rows = bucket(g, p->rows, g->max.rows),
                      .seqs = bucket(g, p->n_parts, g->max.seqs),
                      .want = bucket(g, p->want, g->max.want),
                      .longest = longest(p)};
    if (p->want == p->rows && p->n_parts == p->rows) {
        n.rows = n.want = n.seqs; /* the same bucket, where there are no more sequences than that */
        n.singles = true;
        TRY(compute_singles(g, n));
    } else {
        TRY(compute(g, n, WHOLE));
    }
    return p->want ? pack_download(&g->pack, step->ring, g->w->queue, p->want) : OK;
}

/* ---- finishing ------------------------------------------------------------------------------- */

static void progress(const struct seq *s)
{
    double now = clock_now();
    struct gen_job *gj = s->of;
    if (s->n_computed >= s->n_prompt || now - gj->last_progress < 1)
        return;
    gj->last_progress = now;
    struct event ev = {.kind = EVENT_PROGRESS, .done = s->n_computed, .total = s->n_prompt};
    job_emit(s->job, &ev);
}

static void finish_part(struct task_state *g, const struct part *t, const struct sample_out *out)
{
    struct seq *s = t->seq;
    bool prompt_was_open = s->n_computed < s->n_prompt;
    s->in_flight--;
    s->pending -= t->sample;
    s->n_computed = t->pos + t->n;
    if (s->state == SEQ_ENDED)
        return;
    for (int i = 0; i < t->n_score; i++)
        gen_scored(s, t->pos + i + 1, &out[t->want + i]);
    if (prompt_was_open && s->n_computed >= s->n_prompt)
        gen_prompt_done(s);
    if (t->sample)
        gen_token(g, s, &out[t->want + t->n_score]);
    else if (s->n_computed >= s->n_tok && s->n_tok >= s->limit)
        gen_end(g, s, FINISH_LENGTH, NULL);
    kv_publish(g->kv, &s->pages, s->tok, s->n_computed < s->n_tok ? s->n_computed : s->n_tok);
    progress(s);
}

static enum status gen_finish(struct task_state *g, struct step *step)
{
    struct step_plan *p = step->plan;
    if (p->rows >= 16) {
        double one = (clock_now() - step->launched) / p->rows;
        g->row_seconds = g->row_seconds > 0 ? 0.7 * g->row_seconds + 0.3 * one : one;
    }
    for (int i = 0; i < p->n_parts; i++)
        finish_part(g, &p->part[i], g->pack.out_host[step->ring]);
    gen_settle(g);
    return OK;
}

const struct task task_generate = {
    .name = "generate",
    .plan = gen_plan,
    .reserve = gen_reserve,
    .open = gen_open,
    .close = gen_close,
    .check = gen_check,
    .submit = gen_submit,
    .pick = gen_pick,
    .launch = gen_launch,
    .finish = gen_finish,
    .abort = gen_abort,
};
