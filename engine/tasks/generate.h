/* generate.h - what the files of the generate task share: its state, its sequences, its steps.
 * Worker thread only.
 *
 * A job becomes n sequences (choices). A sequence is a growing list of tokens, and four marks in
 * it: n_computed <= n_sched            positions whose keys and values are computed / submitted
 *   n_prompt <= n_tok                tokens of the prompt / known to the host
 * plus `pending` samples in flight, which stand for the tokens n_tok .. n_tok + pending - 1. A row
 * for a position whose token is not known yet takes it from its slot on the device, so the next
 * step can be launched before the host has read the last one. Preemption forgets pages and marks,
 * never tokens: the sequence is computed again and goes on with the same tokens, because a row's
 * bits and a sample's random numbers depend on the position alone. */
#ifndef ENGINE_TASKS_GENERATE_H
#define ENGINE_TASKS_GENERATE_H

#include "engine/run/kv.h"
#include "engine/run/pack.h"
#include "engine/run/task.h"
#include "engine/run/worker.h"
#include "engine/text/stop.h"
#include "engine/text/tokenizer.h"

enum {
    GROWTH_TOKENS = 256, /* admission promises room for the prompt and this many more */
    SCORE_ROWS = 32,     /* prompt rows whose log-probabilities one step can report */
    BIAS_PER_JOB = 1024, /* logit_bias entries and bans of one job */
    FIRST_CHUNK = 64,    /* rows of a prefill chunk before any step was timed */
};

enum seq_state { SEQ_WAITING, SEQ_RUNNING, SEQ_ENDED };

struct held { /* a token whose text is not certain yet: it may belong to a stop string */
    struct token_info info;
    size_t start; /* where its text begins in the choice's text */
};

struct gen_job;
struct seq {
    struct gen_job *of;
    struct job *job;
    int choice;
    enum seq_state state;
    bool preempting; /* gives its pages back as soon as no step uses them */
    bool count;      /* its penalty counts must be set before its next row */
    int slot;        /* -1: none */
    int n_table;     /* pages that the slot's row of the device's table has */
    int32_t *tok;
    int n_tok, cap, n_prompt;
    int64_t limit; /* most tokens it may have, prompt included */
    int n_sched, n_computed, pending, in_flight;
    struct kv_pages pages;
    uint64_t seed, order; /* order: of admission; the greatest is the youngest */
    struct detok detok;
    struct stop stop;
    struct held *held;
    struct token_logprob *held_top; /* [cap_held, top_logprobs] */
    int n_held, cap_held;
    size_t pushed, emitted; /* bytes of text decoded / given out */
    double last_token;
    struct seq *next; /* in the waiting list */
};

struct gen_job {
    struct job *job;
    int n, n_ended, n_left; /* sequences, ended ones, ones whose memory is still in use */
    bool started, failed;
    int64_t prompt, completion, cached;
    int longest;               /* tokens of the longest choice that has ended */
    double began, first_token; /* times: admitted; 0: not yet */
    double last_progress;
    struct token_info *scored; /* [n_prompt] log-probabilities of the prompt's tokens */
    struct token_logprob *scored_top;
    struct seq seq[];
};

struct part { /* the rows of one sequence in a step */
    struct seq *seq;
    int pos, n;        /* positions [pos, pos + n) */
    int want, n_score; /* first wanted row; how many prompt rows are scored before the sample */
    bool sample;
};
struct step_plan {
    struct part *part; /* [max_seqs] */
    int n_parts, rows, want, bias;
    bool prefill;
};

/* A step of single rows as a graph: its launches depend on these two alone. */
struct gen_graph {
    int rows, longest;   /* rows 0: unused */
    struct graph *graph; /* NULL: seen once */
};
enum { GRAPHS = 128 };

struct task_state {
    struct worker *w;
    const struct model *m;
    const struct net *net;
    struct kv *kv;
    struct pack pack;
    struct pack_sizes max;
    uint16_t *counts; /* device [slots, V] */
    struct memory mem[N_MEMORY_KIND];
    struct pack lower_pack; /* the arrays and memories of the device that has the first layers */
    struct memory lower_mem[N_MEMORY_KIND];
    struct queue *lower;  /* its queue; NULL: one device has the whole network */
    struct seq **slot;    /* [max_seqs] */
    struct seq **running; /* [max_seqs] in order of admission */
    int n_running;
    struct seq *waiting, **waiting_end;
    struct gen_job **job; /* all jobs not yet freed */
    int n_jobs, cap_jobs;
    int32_t *end; /* [n_ends] tokens that end a turn */
    int n_ends;
    bool reuse; /* pages can be shared: no layer keeps a state beside them */
    uint64_t next_order;
    double row_seconds; /* moving average over prefill steps; 0: none yet */
    struct step_plan plan[RING];
    struct gen_graph graph[GRAPHS];
    bool no_graphs; /* the device has none, or failed to make one */
};

/* schedule.c: admission and the choice of rows */
bool gen_pick(struct task_state *g, struct step *step);
void gen_settle(
    struct task_state *g); /* gives back what ended and preempted sequences no longer use */
void gen_drop_ended(struct task_state *g); /* takes ended sequences out of the waiting list */
void gen_reap(struct task_state *g); /* generate.c: frees jobs whose sequences have all left */

/* emit.c: from a sampled token to events */
void gen_token(struct task_state *g, struct seq *s, const struct sample_out *o);
void gen_scored(struct seq *s, int pos,
                const struct sample_out *o); /* of the prompt token at `pos` */
void gen_prompt_done(struct seq *s);
void gen_end(struct task_state *g, struct seq *s, enum finish reason, const char *stop_word);
void gen_fail(struct task_state *g, struct gen_job *gj, enum status why, const char *message);

/* memory.c: the plan, the forward's arguments */
enum status gen_plan(struct model *m, const struct device_info *dev, struct limits *l,
                     struct need *n);
enum status gen_reserve(struct model *m, const struct sides *on, const struct limits *l,
                        const struct need *n);
struct pack_sizes gen_sizes(const struct limits *l, int page_tokens);
void gen_memories(const struct hparams *hp, const struct limits *l, const struct need *n,
                  enum side side, char *kv, struct memory *mem);

#endif
