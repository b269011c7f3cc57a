/* perplexity.h - how well a model predicts a text, and how far it is from another that did.
 *
 * The text is cut into windows of equal length; where the model wants BOS, it takes the place of
 * each window's first token. Tokens of the second half of a window are scored, each with at least
 * half a window before it. That is llama.cpp's way, so that figures compare. Sums are doubles in
 * order of position: the same file and text give the same bits. */
#ifndef ENGINE_PERPLEXITY_H
#define ENGINE_PERPLEXITY_H

#include <stdatomic.h>

#include "engine/score.h"

struct mean { /* with the standard error of the mean */
    double value, error;
};

struct perplexity_result {
    int64_t tokens, windows, scored;
    int window;             /* tokens of one */
    struct mean nll;        /* of a token, natural logarithm */
    struct mean perplexity; /* exp of it */
    /* Against the reference, when one was given: */
    struct mean divergence; /* Kullback-Leibler, of the reference from this, nats a token */
    double divergence_most;
    struct mean top;               /* share of tokens whose likeliest is the same */
    struct mean log_ratio;         /* nll minus the reference's */
    double logit_mean, logit_most; /* |difference| over all logits */
};

struct perplexity_options {
    struct score_options model; /* its progress and ctx are ours; window: 0 means 512 */
    struct bytes text;
    int64_t windows;          /* at most so many; 0: all */
    const char *save;         /* file for the logits, or NULL */
    const char *reference;    /* file of another run's, or NULL */
    const _Atomic bool *stop; /* becomes true: ERR_CANCELLED */
    void (*progress)(void *ctx, const char *stage, double done);
    /* After the last window, while the model is there; may be NULL. */
    enum status (*after)(void *ctx, const struct model *m, const struct perplexity_result *r);
    void *ctx;
};

enum status perplexity_run(const struct perplexity_options *o, struct perplexity_result *out);

#endif
