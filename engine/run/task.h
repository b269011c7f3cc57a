/* task.h - a kind of work the worker can do: generate text, later embed, rank, draw, transcribe,
 * speak.
 *
 * The worker knows no slots, no tokens and no networks: it asks a task for steps and hands them
 * back when their fence is done. All functions but `check` run on the worker's thread. To add one:
 * a file in engine/tasks/, a row in tasks.c. */
#ifndef ENGINE_RUN_TASK_H
#define ENGINE_RUN_TASK_H

#include "engine/engine.h"
#include "engine/load/model.h"
#include "engine/run/job.h"
#include "kernels/backend.h"

struct worker;
struct task_state;

struct limits { /* what a worker may use; engine.c fills it from the options, `plan` settles the
                   zeros */
    int64_t context;    /* tokens of a sequence; 0: see engine_options */
    int64_t kv_bytes;   /* 0: from `free_bytes` */
    int64_t free_bytes; /* measured on the device before anything was taken */
    int64_t lower_free; /* on the one that has the first layers */
    int cut;            /* layers below it are on that one; 0: there is none */
    bool full_context;  /* an unset context is not made smaller so that it fits */
    int max_seqs, max_rows;
    enum dtype kv_dtype;
    bool prefix_cache;
    double step_seconds; /* what a step aims at while others wait for their tokens */
};

struct need { /* the four regions, exact */
    size_t bytes[N_REGION];
    size_t own;             /* what the device has taken for its kernels; not in `free_bytes` */
    size_t lower[N_REGION]; /* on the device that has the first layers */
    int n_pages, page_tokens;
    int64_t page_bytes; /* of all layers together */
};

struct step { /* a batch in flight */
    const struct task *task;
    struct task_state *state;
    struct fence fence;
    int ring; /* which of the RING upload buffers it uses */
    int rows;
    double launched;
    void *plan; /* the task's own description of the step, one for each ring position */
};

enum { RING = 3, MAX_IN_FLIGHT = 2 };

struct task {
    const char *name;
    /* Worst case of all regions, by running the forward on the null device; settles the zeros of
     * `l`. */
    enum status (*plan)(struct model *m, const struct device_info *dev, struct limits *l,
                        struct need *n);
    /* The same walk for the devices themselves (backend.reserve), before the weights are in
     * place. May be NULL. */
    enum status (*reserve)(struct model *m, const struct sides *on, const struct limits *l,
                           const struct need *n);
    enum status (*open)(struct worker *w, struct task_state **out);
    void (*close)(struct task_state *s);
    /* Whether the job can ever run; on the submitter's thread, against immutable things only. */
    enum status (*check)(const struct model *m, const struct limits *l,
                         const struct job_spec *spec);
    void (*submit)(struct task_state *s, struct job *j); /* takes the worker's reference */
    bool (*pick)(struct task_state *s,
                 struct step *step); /* fills step->rows and plan; false: nothing to do now */
    enum status (*launch)(struct task_state *s,
                          struct step *step); /* uploads and submits; never waits */
    enum status (*finish)(struct task_state *s,
                          struct step *step); /* after the fence: reads, emits */
    void (*abort)(struct task_state *s, enum status why,
                  const char *message); /* ends every job; no step is in flight */
};

#endif
