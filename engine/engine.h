/* engine.h - the engine as api/ and server/ see it: models, jobs, events. The only engine header
 * they need.
 *
 * engine_open returns at once; the worker thread loads the model, then serves. Text work
 * (templates, tokens) runs on the caller's thread against immutable objects. A job is submitted
 * with an immutable spec, yields events from its queue, and is cancelled or put by its owner. Times
 * are seconds, sizes bytes, unless said. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/json.h"
#include "kernels/base/stats.h"
#include "kernels/base/status.h"

struct engine;
struct model;
struct job;

/* ---- opening --------------------------------------------------------------------------------- */

struct engine_options { /* zero fields: the defaults */
    const char *model_path;
    const char *model_name; /* id to serve under; NULL: from the file's metadata, else its name */
    const char *device;     /* "auto", "cpu" ... */
    const char *gpu_layers; /* NULL: all layers on the GPU; "auto": as many as fit; a number: the
                               last so many, the first on the CPU */
    const char *kv_type;    /* NULL: the device's default; "f32" "bf16" "fp8" */
    const char *isa;        /* CPU: forces an instruction set, for tests */
    const char *gpu_config, *gpu_cache; /* CUDA: a configuration; where tuned ones lie; or NULL */
    bool strict;             /* CUDA: fail rather than take a configuration or kernel of less */
    const char *cublaslt;    /* CUDA: where the library is; "none"; NULL: looked for */
    const char *activations; /* what products may round x to: "auto", as the checkpoint declares,
                                on GPUs; "fp8" ...; NULL: "exact" */
    bool deterministic;      /* CUDA: a sequence's bits do not depend on its company */
    int threads;
    int64_t context;  /* tokens a sequence may have; 0: least of the model's, 32768 and what fits */
    int64_t kv_bytes; /* 0: from the memory measured as free */
    int max_seqs;     /* sequences running at once; 0: 16 */
    int queue_limit;  /* jobs waiting; 0: 512 */
    int max_rows;     /* rows of a step; 0: chosen so that a step takes about 50 ms */
    bool no_prefix_cache;
    bool plain_sampling; /* what the checkpoint says of sampling is left aside */
    const struct random_model
        *random; /* instead of model_path: weights made in memory, for benchmarks */
};
struct random_model {
    const char *shape;  /* "qwen2.5-0.5b", "llama-3.2-1b" ... : a row of engine/load/random.c */
    const char *format; /* "q8_0", "bf16" ... */
    uint64_t seed;
};

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_DRAINING, ENGINE_FAILED };
struct engine_progress {
    enum engine_state state;
    char stage[48];    /* "reading header", "packing weights" ... */
    double done;       /* 0 .. 1 of this stage */
    enum status error; /* ENGINE_FAILED: why; ERR_DEVICE after READY: the device broke */
    char message[512];
};

/* Checks the options and starts the worker. `on_state` (may be NULL) is called from the worker on
 * every change of state and stage. */
enum status engine_open(const struct engine_options *o, void (*on_state)(void *), void *ctx,
                        struct engine **out);
void engine_progress(struct engine *e, struct engine_progress *out);
/* New jobs get ERR_DRAINING; running ones go on. engine_idle: none is left. */
void engine_drain(struct engine *e);
bool engine_idle(struct engine *e);
/* Cancels what runs, joins the worker, frees everything. Jobs live on until they are put. */
void engine_close(struct engine *e);

/* ---- sampling -------------------------------------------------------------------------------- */

struct logit_bias {
    int32_t token;
    float add;
};

struct sampling {
    float temperature, top_p, min_p;
    int top_k; /* 0: off */
    float presence, frequency, repetition;
    bool has_seed;
    uint64_t seed; /* choice i of a job uses seed + i */
    const struct logit_bias *bias;
    int n_bias;
};
void sampling_default(struct sampling *s); /* temperature 1, top_p 1, everything else neutral */

/* ---- models: immutable once READY ------------------------------------------------------------ */

struct model_info {
    const char *id, *arch, *format, *path; /* "llama", "q4_1", file path ("" for random weights) */
    int64_t created;                       /* time of the file, seconds since 1970 */
    int64_t context;                       /* tokens a sequence may have here */
    int64_t context_trained;               /* what the checkpoint was made for */
    int64_t n_params, bytes;
    int n_vocab;
    bool has_template;
    bool parts;      /* it reads content that is a list of parts */
    bool text_calls; /* it shows tool calls only beside null content, with arguments as text */
    const char *bos, *eos; /* spellings, "" when none */
    const char *device,
        *kernels; /* "cpu avx512 2 threads"; one line a weight class: which kernel runs */
    int n_layers, gpu_layers; /* of them: on the GPU, the last ones */
    const char *gpu; /* JSON object: the GPU's configuration and where it comes from; "": none */
    struct sampling sampling; /* what the checkpoint asks for where a request says nothing */
    int64_t max_tokens;       /* likewise; 0: as many as the context has room for */
};
/* NULL until READY. The model lives until engine_close. */
const struct model *engine_model(struct engine *e);
const struct model_info *model_info(const struct model *m);

struct token_list {
    int32_t *id;
    int n;
}; /* arena memory */
/* Renders the checkpoint's template: vars has messages, tools, add_generation_prompt and further
 * template variables; bos_token and eos_token are supplied. ERR_TEMPLATE when it raises or there is
 * none. */
enum status model_render(const struct model *m, const struct json *vars, struct buf *out);
enum around { /* what the file's policy puts around a text */
              AROUND_NOTHING,
              AROUND_PROMPT, /* BOS, but not when the text begins with it */
              AROUND_TEXT,   /* BOS and EOS */
};
/* special: control tokens in the text become ids. */
enum status model_tokenize(const struct model *m, struct arena *a, struct bytes text, bool special,
                           enum around around, struct token_list *out);
struct bytes model_piece(const struct model *m, int32_t token); /* its bytes, borrowed */

/* ---- jobs ------------------------------------------------------------------------------------ */

enum { JOB_MAX_CHOICES = 128, JOB_MAX_STOPS = 64, JOB_MAX_TOP = 20 };

/* What to generate. Copied by engine_submit; pointers are only read during the call. */
struct job_spec {
    struct token_list prompt; /* at least one token */
    struct sampling sampling;
    int n;                 /* choices, sharing the prompt's KV; >= 1 */
    int64_t max_tokens;    /* 0: as many as the context has room for */
    bool max_tokens_given; /* explicit: prompt + max_tokens above the context is ERR_CONTEXT with
                              both numbers; 0 then means none: the prompt is only scored */
    int64_t min_tokens;    /* no end token and no stop before so many */
    bool ignore_eos;
    const struct bytes *stop;
    int n_stop;
    const int32_t *stop_token;
    int n_stop_token;
    bool include_stop;    /* the stop string stays in the text */
    int top_logprobs;     /* -1: no logprobs; else that many alternatives beside the chosen token */
    bool prompt_logprobs; /* also of the prompt's tokens (echo) */
    bool special_text;    /* control tokens appear in the text */
    double deadline;      /* clock_now() time after which the job ends with ERR_DEADLINE; 0: none */
    const char *request_id; /* for logs */
};

enum finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH };

struct token_logprob {
    int32_t token;
    float logprob;
};
struct token_info {
    int32_t token;
    float logprob; /* NAN for the first prompt token */
    int rank;
    const struct token_logprob *top;
    int n_top;
};

struct usage {
    int64_t prompt, completion, cached;
}; /* cached: prompt tokens taken from the prefix cache */

enum event_kind {
    EVENT_PROGRESS, /* prefill goes on: done of total prompt tokens (at most one a second) */
    EVENT_PROMPT,   /* logprobs of the prompt's tokens, before the first EVENT_TEXT of choice 0 */
    EVENT_TEXT,     /* text and tokens of one choice; text may be "" while it is held back */
    EVENT_FINISH,   /* one choice ended: reason */
    EVENT_DONE,     /* the whole job ended well: usage */
    EVENT_ERROR,    /* the whole job ended badly: status and message. Last event, like EVENT_DONE */
};
struct event {
    enum event_kind kind;
    int choice;
    struct bytes text;
    const struct token_info *token; /* tokens chosen since the choice's last event, in order */
    int n_tokens;
    enum finish reason;
    const char *stop_word; /* the stop string that matched, or NULL */
    int64_t done, total;
    struct usage usage;
    enum status status;
    const char *message;
};

/* `wake` is called under the job's lock, from the worker, whenever an event is added to an empty
 * queue; it must not call back into the engine. Fails: ERR_LOADING, ERR_DRAINING, ERR_QUEUE_FULL,
 * ERR_CONTEXT, ERR_INVALID. */
enum status engine_submit(struct engine *e, const struct job_spec *spec, void (*wake)(void *),
                          void *ctx, struct job **out);
/* Takes the next event; false: none now. What it points to is borrowed until the next job_next or
 * job_put. */
bool job_next(struct job *j, struct event *out);
void job_cancel(struct job *j); /* any thread, any time; resources come back within a step */
void job_put(struct job *j);    /* the owner is done with it; cancels when it still runs */

/* ---- figures --------------------------------------------------------------------------------- */

struct engine_stats {
    struct counter prompt_tokens, generated_tokens, cached_tokens, steps, step_rows, preemptions,
        over_budget_steps;
    struct counter looked_up_tokens; /* of prompts that were looked for in the prefix cache */
    struct counter jobs_done, jobs_failed, jobs_cancelled, jobs_rejected;
    struct gauge running, waiting, running_max, kv_pages_used, kv_pages_total, kv_page_tokens;
    /* of the device, as struct fallbacks has them */
    struct gauge other_kernels, other_algorithms, other_products;
    struct histogram ttft, itl, e2e, queue_time, prompt_len, output_len, step_time;
    /* of a job: admitted to first token, first to last, both; longest choice; what was asked for */
    struct histogram prefill_time, decode_time, run_time, longest_len, asked_n, asked_tokens;
};
const struct engine_stats *engine_stats(struct engine *e);

/* ---- files, without an engine ---------------------------------------------------------------- */

/* Text for people: hyper-parameters, tokenizer, tensors, and, when inferd cannot run it, why. */
enum status engine_inspect(const char *path, struct buf *out);
/* The exact memory plan for these options, without loading weights. */
enum status engine_plan(const struct engine_options *o, struct buf *out);
/* Opens only tokenizer and template of a checkpoint (a `.jinja` file: template alone, tokenize then
 * fails). */
enum status model_open_text(const char *path, struct model **out);
void model_close_text(struct model *m);

#endif
