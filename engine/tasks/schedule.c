/* schedule.c - who gets rows in the next step: running choices their one row each first, then
 * prefill chunks in order of admission, cut so that the step takes about as long as
 * limits.step_seconds. */
#include "engine/tasks/generate.h"
#include "engine/tasks/tasks.h"
#include "kernels/base/clock.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- leaving --------------------------------------------------------------------------------- */

static void leave_slot(struct task_state *g, struct seq *s)
{
    kv_release(g->kv, &s->pages);
    if (s->slot >= 0)
        g->slot[s->slot] = NULL;
    s->slot = -1;
    for (int i = 0, j = 0, n = g->n_running; i < n; i++)
        if (g->running[i] != s)
            g->running[j++] = g->running[i];
        else
            g->n_running--;
}

static void wait_again(struct task_state *g, struct seq *s)
{
    s->state = SEQ_WAITING;
    s->preempting = false;
    s->n_sched = s->n_computed = 0;
    s->next = g->waiting;
    if (!g->waiting)
        g->waiting_end = &s->next;
    g->waiting = s;
}

void gen_settle(struct task_state *g)
{
    for (int i = g->n_running - 1; i >= 0; i--) {
        struct seq *s = g->running[i];
        if (s->in_flight > 0 || (s->state == SEQ_RUNNING && !s->preempting))
            continue;
        leave_slot(g, s);
        if (s->state == SEQ_RUNNING) {
            counter_add(&g->w->stats.preemptions, 1);
            wait_again(g, s);
        } else {
            s->of->n_left--;
        }
    }
    gauge_set(&g->w->stats.kv_pages_used, kv_used(g->kv));
    gen_reap(g);
}

static void unlink_waiting(struct task_state *g, struct seq **at)
{
    struct seq *s = *at;
    *at = s->next;
    if (!s->next)
        g->waiting_end = at;
    s->next = NULL;
}

void gen_drop_ended(struct task_state *g)
{
    for (struct seq **at = &g->waiting; *at;) {
        if ((*at)->state == SEQ_ENDED) {
            (*at)->of->n_left--;
            unlink_waiting(g, at);
        } else {
            at = &(*at)->next;
        }
    }
}

/* Ends jobs whose owner left or whose time is over. */
static void end_cancelled(struct task_state *g)
{
    double now = clock_now();
    for (int i = 0; i < g->n_jobs; i++) {
        struct gen_job *gj = g->job[i];
        double deadline = gj->job->spec.deadline;
        if (gj->job->ended)
            continue;
        if (atomic_load(&gj->job->cancelled))
            gen_fail(g, gj, ERR_CANCELLED, "the request was cancelled");
        else if (deadline > 0 && now > deadline)
            gen_fail(g, gj, ERR_DEADLINE, "the request's time limit has passed");
    }
    gen_drop_ended(g);
}

/* ---- admission ------------------------------------------------------------------------------- */

static int free_slot(const struct task_state *g)
{
    for (int i = 0; i < g->max.slots; i++)
        if (!g->slot[i])
            return i;
    return -1;
}

/* Choices after the first wait until its prompt is computed, then find it in the pages. */
static bool must_wait(const struct task_state *g, const struct seq *s)
{
    const struct seq *first = &s->of->seq[0];
    return g->reuse && s->choice > 0 && s->n_tok == s->n_prompt && first->state != SEQ_ENDED &&
           first->n_computed < first->n_prompt;
}

static bool uses_counts(const struct seq *s)
{
    const struct sampling *p = &s->job->spec.sampling;
    return p->presence != 0 || p->frequency != 0 || p->repetition != 1;
}

static bool admit(struct task_state *g, struct seq *s, int slot)
{
    struct gen_job *gj = s->of;
    bool scores = s->job->spec.prompt_logprobs && s->choice == 0 && s->n_tok == s->n_prompt;
    bool look = !scores && g->reuse;
    int cached = look ? kv_match(g->kv, &s->pages, s->tok, s->n_tok - 1) : 0;
    if (!kv_reserve(g->kv, &s->pages, min64(s->limit, (int64_t)s->n_tok + GROWTH_TOKENS))) {
        kv_release(g->kv, &s->pages);
        return false;
    }
    s->slot = slot;
    s->n_table = 0;
    s->state = SEQ_RUNNING;
    s->order = g->next_order++;
    s->n_sched = s->n_computed = cached;
    s->count = uses_counts(s);
    g->slot[slot] = s;
    g->running[g->n_running++] = s;
    if (!gj->started) {
        gj->started = true;
        gj->cached = cached;
        gj->began = gj->last_progress = clock_now();
        counter_add(&g->w->stats.cached_tokens, (uint64_t)cached);
        counter_add(&g->w->stats.looked_up_tokens, look ? (uint64_t)s->n_tok : 0);
        histogram_add(&g->w->stats.queue_time, gj->began - gj->job->submitted);
        worker_job_started(g->w);
    }
    return true;
}

static void admit_waiting(struct task_state *g)
{
    for (struct seq **at = &g->waiting; *at;) {
        struct seq *s = *at;
        int slot = free_slot(g);
        if (slot < 0)
            return;
        if (must_wait(g, s)) {
            at = &s->next;
            continue;
        }
        if (!admit(g, s, slot))
            return; /* first come, first served */
        unlink_waiting(g, at);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct seq *youngest(const struct task_state *g)
{
    struct seq *y = NULL;
    for (int i = 0; i < g->n_running; i++) {
        struct seq *s = g->running[i];
        if (s->state == SEQ_RUNNING && !s->preempting && (!y || s->order > y->order))
            y = s;
    }
    return y;
}

static bool in_plan(const struct step_plan *p, const struct seq *s)
{
    for (int i = 0; i < p->n_parts; i++)
        if (p->part[i].seq == s)
            return true;
    return false;
}

/* Pages for positions below n; takes them from younger sequences if it must. False: not in this
 * step. */
static bool make_room(struct task_state *g, const struct step_plan *p, struct seq *s, int n)
{
    while (!kv_grow(g->kv, &s->pages, n)) {
        struct seq *y = youngest(g);
        if (!y || in_plan(p, y))
            return false;
        y->preempting = true;
        if (y->in_flight > 0 || y == s) {
            gen_settle(g);
            return false;
        }
        gen_settle(g);
    }
    return true;
}

/* Rows that `s` could have now; those of unknown tokens count as one. */
static int rows_to_do(const struct seq *s)
{
    if (s->state != SEQ_RUNNING || s->preempting)
        return 0;
    if (s->n_sched < s->n_tok)
        return s->n_tok - s->n_sched;
    bool token_in_slot = s->pending > 0 && s->n_sched == s->n_tok + s->pending - 1;
    return token_in_slot && s->n_tok + s->pending < s->limit ? 1 : 0;
}

static bool scoring(const struct seq *s, int pos)
{
    return s->job->spec.prompt_logprobs && s->choice == 0 && s->of->scored && pos < s->n_prompt - 1;
}

static void add_part(struct task_state *g, struct step_plan *p, struct seq *s, int most)
{
    int n = rows_to_do(s), pos = s->n_sched;
    if (n > most)
        n = most;
    int want_left = g->max.want - g->max.seqs - (p->want - p->n_parts);
    if (scoring(s, pos) && n > want_left)
        n = want_left > 0 ? want_left : 0;
    if (n < 1 || p->n_parts == g->max.seqs || !job_has_room(s->job) || !make_room(g, p, s, pos + n))
        return;
    bool sample = pos + n >= s->n_tok && s->n_tok + s->pending < s->limit;
    int n_score = !scoring(s, pos) ? 0 : pos + n > s->n_prompt - 1 ? s->n_prompt - 1 - pos : n;
    p->part[p->n_parts++] = (struct part){
        .seq = s, .pos = pos, .n = n, .want = p->want, .n_score = n_score, .sample = sample};
    p->rows += n;
    p->want += n_score + sample;
    p->prefill |= n > 1;
    s->n_sched += n;
    s->pending += sample;
    s->in_flight++;
}

/* Rows a step may have so that those who decode wait about step_seconds; more when nobody does. */
static int row_budget(const struct task_state *g, const struct step_plan *p)
{
    if (g->row_seconds == 0)
        return p->rows + FIRST_CHUNK;
    double seconds = g->w->limits.step_seconds * (p->rows > 0 ? 1 : 2);
    double rows = seconds / g->row_seconds;
    int n = rows > g->max.rows ? g->max.rows : (int)rows / 8 * 8;
    return n < p->rows + 16 ? p->rows + 16 : n;
}

bool gen_pick(struct task_state *g, struct step *step)
{
    struct step_plan *p = &g->plan[step - g->w->ring];
    end_cancelled(g);
    gen_settle(g);
    admit_waiting(g);
    struct part *part = p->part;
    *p = (struct step_plan){.part = part};
    for (int i = 0; i < g->n_running; i++)
        if (rows_to_do(g->running[i]) == 1 && p->rows < g->max.rows)
            add_part(g, p, g->running[i], 1);
    int budget = row_budget(g, p);
    if (budget > g->max.rows)
        budget = g->max.rows;
    for (int i = 0; i < g->n_running && p->rows < budget; i++)
        if (!in_plan(p, g->running[i]))
            add_part(g, p, g->running[i], budget - p->rows);
    *step = (struct step){.task = &task_generate,
                          .state = g,
                          .ring = (int)(step - g->w->ring),
                          .rows = p->rows,
                          .plan = p};
    return p->rows > 0;
}
