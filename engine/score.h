/* score.h - what a model gives each token of a text: logits, straight through the forward, without
 * worker, queue or sampler.
 *
 * For measuring, so it runs on the CPU backend, whose rows have the same bits for any number of
 * threads and however a text is cut into steps. One thread at a time. */
#ifndef ENGINE_SCORE_H
#define ENGINE_SCORE_H

#include "engine/load/model.h"

struct scorer;
struct score_options {
    const char *path;
    const char *kv_type;     /* NULL: the device's default */
    const char *isa;         /* NULL: the best */
    const char *activations; /* what products round x to; NULL, "auto": nothing */
    int threads;             /* 0: as many as this process may use */
    int window;              /* tokens of the longest text */
    /* Sees the inputs of all matrices, see struct pass; may be NULL. */
    void (*tap)(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live);
    void *tap_ctx;
    void (*progress)(void *ctx, double done); /* of packing the weights; may be NULL */
    void *ctx;
};

enum status score_open(const struct score_options *o, struct scorer **out);
const struct model *score_model(const struct scorer *s);
/* Computes a text of at most `window` tokens. `take` (may be NULL) gets the logits [n_vocab] behind
 * each position from `first` on, in order, borrowed for the call. */
enum status score_run(struct scorer *s, const struct token_list *text, int first,
                      enum status (*take)(void *ctx, int pos, const float *logits), void *ctx);
void score_close(struct scorer *s); /* NULL is fine */

#endif
