/* answer.h - what chat and completions share once prompt and parameters are known: jobs are
 * submitted, their events become choices, and the choices are printed whole or as a stream.
 *
 * Invariant: a call stays in PHASE_WAIT until a job's first event (or, streamed, until a prefill
 * has taken a few seconds); an error before that keeps its own HTTP status. */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/call.h"
#include "api/logprobs.h"
#include "api/params.h"

struct choice {
    struct buf text; /* not yet printed */
    struct logprobs logprobs;
    enum finish reason;
    struct bytes stop_word; /* that matched, arena memory; none: n is 0 */
    int64_t n_tokens;       /* seen in events so far */
    bool opened;            /* streamed: its first chunk was written */
};

struct answer;
/* How an endpoint prints: an object's `choices` item for a chunk or for the whole answer. */
struct dialect {
    const char *id_prefix, *object, *chunk_object;
    const char *prompt_field; /* at fault when the prompt is too long */
    void (*open)(const struct answer *an, int i,
                 struct buf *out); /* a choice's first chunk, or NULL */
    void (*delta)(const struct answer *an, int i, struct buf *out); /* new text and logprobs */
    void (*last)(const struct answer *an, int i, struct buf *out);  /* finish_reason */
    void (*whole)(const struct answer *an, int i, struct buf *out);
    void (*logprob)(struct logprobs *l, const struct model *m, const struct token_info *t);
};

struct answer {
    /* set by the endpoint */
    const struct dialect *dialect;
    const struct model *model;
    bool stream, include_usage;
    bool with_logprobs;
    const struct token_list *prompt; /* one job each */
    const struct bytes *echo;        /* [n_prompts] printed before the text, or NULL */
    int n_prompts;
    /* its own */
    struct choice *choice; /* [n_prompts * n]: choice i of prompt p is p * n + i */
    int n, live;           /* choices a prompt; jobs that have not ended */
    int64_t created;
    double last_sent; /* clock_now() of the last frame */
};

/* What the dialects have in common before it starts: the model that was named is ours, `spec` from
 * `p` and that model, and how the answer is to come. `an->model` is set. */
enum status answer_params(struct api *a, struct call *c, const struct params *p,
                          const struct dialect *dialect, struct answer *an, struct job_spec *spec);
/* Submits a job for each prompt with `spec` (whose prompt is ignored). The call's state becomes an.
 */
enum status answer_start(struct api *a, struct call *c, struct answer *an, struct job_spec *spec);
enum status answer_resume(struct api *a, struct call *c);
void answer_end(struct call *c);

/* For dialects: `"finish_reason":...` and, when a stop string matched, `,"stop_reason":...`. */
void answer_write_finish(const struct choice *ch, struct buf *out);

#endif
