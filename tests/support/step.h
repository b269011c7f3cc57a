/* step.h - runs forwards of a model without the engine: its own pages, batches made by hand. */
#ifndef TESTS_SUPPORT_STEP_H
#define TESTS_SUPPORT_STEP_H

#include "engine/load/model.h"
#include "engine/load/repack.h"

struct step_options {
    const char *path;                  /* or */
    const struct random_model *random; /* NULL: path */
    const struct backend *backend;
    const char *isa;
    int threads;
    enum x_type round_x; /* as struct device_options has it */
    enum dtype kv;
    int max_rows, max_seqs, max_tokens; /* rows of a step; slots; positions of each */
    const struct backend *lower;        /* computes the layers below `cut`; NULL: no other does */
    int cut;
};

struct stepper {
    struct step_options o;
    struct model *m;
    struct device *dev;
    struct device_info info;
    void *region[N_REGION];
    struct memory mem[N_MEMORY_KIND];
    struct sides on; /* both devices, and where their weights are */
    void *lower_region[N_REGION];
    struct memory lower_mem[N_MEMORY_KIND];
    size_t work_bytes, peak; /* the workspace, and the most that a step used of it */
    size_t lower_bytes;      /* the workspace of the lower side */
    int n_pages_seq;
};

/* Rows of one sequence in a step: tokens at positions pos, pos + 1 ... */
struct step_seq {
    int slot, pos, n;
    const int32_t *token;
    int want; /* the last `want` rows give logits */
};

enum status step_open(struct stepper *s, const struct step_options *o);
/* One step. Logits of the wanted rows, in order: [sum of want, V]. */
enum status step_run(struct stepper *s, const struct step_seq *seq, int n, float *logits);
/* The workspace that a step of so many rows, sequences and wanted rows takes, from a forward on the
 * null backend. */
enum status step_plan(struct stepper *s, int rows, int seqs, int want, size_t *peak);
void step_close(struct stepper *s);

#endif
