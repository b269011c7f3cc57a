/* tune_field.h - one shape's launches, checked and timed: inside the tuner. */
#ifndef KERNELS_GPU_TUNE_FIELD_H
#define KERNELS_GPU_TUNE_FIELD_H

#include "kernels/gpu/tune.h"

enum { TUNE_CANDS_MAX = 96, TUNE_SAMPLES = 12, TUNE_LT_MAX = 32 };

struct tune_effort { /* rounds for all, for the best few, in the duel; algorithms of cuBLASLt */
    int all, best, n_best, duel, algorithms;
};
extern const struct tune_effort tune_full, tune_quick;

struct tune_bench { /* how it is measured, and what happened */
    const struct tune_device *d;
    struct tune_effort effort;
    uint64_t draws; /* of the generator that shuffles */
    int rejected, dropped;
};

struct tune_cand {
    struct gpu_params p;
    double ratio[TUNE_SAMPLES], median; /* to the present choice, in the same round */
    int n;
};

struct tune_field { /* the candidates of one shape */
    struct gpu_shape shape;
    struct gpu_params base;
    struct tune_cand cand[TUNE_CANDS_MAX];
    int n;
    struct gpu_lt lt[TUNE_LT_MAX], base_lt; /* what p.lt of candidates and base point to */
    double base_us[TUNE_SAMPLES];           /* of each round */
    int n_base;
    bool broken; /* the present choice computes something else: base is another */
};

struct tune_duel {
    double ratio, lo, hi; /* time of the second / the first: median, 95 % confidence */
    double first_us, second_us;
    bool valid;
};

bool tune_same(const struct gpu_params *a, const struct gpu_params *b);

/* All launches of the shape that are right and use what they `may` (a set of enum gpu_may), timed
 * against the configuration's, best first. */
enum status tune_screen(struct tune_bench *b, const struct gpu_config *c, int may,
                        struct tune_field *f);
/* Two of anything in turns: A B B A, so that a clock that drifts favours neither. */
typedef enum status tune_time_fn(void *ctx, const void *what, double *us);
enum status tune_fight(struct tune_bench *b, tune_time_fn *time, void *ctx, const void *first,
                       const void *second, struct tune_duel *out);
/* The same of two launches. */
enum status tune_fight_launches(struct tune_bench *b, const struct gpu_params *first,
                                const struct gpu_params *second, struct tune_duel *out);

#endif
