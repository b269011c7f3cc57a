/* collect.h - how important the columns of each matrix are for a text: sums of squares of what is
 * multiplied with them, in a file as llama.cpp's tools write and read it (GGUF). */
#ifndef ENGINE_COLLECT_H
#define ENGINE_COLLECT_H

#include "engine/perplexity.h"

struct collector;
struct collector *collect_new(void);
void collect_free(struct collector *c); /* NULL is fine */
/* A tap, see struct score_options; ctx: the collector. */
void collect_tap(void *ctx, const struct tensor *x, const struct tensor *w, const int32_t *live);
/* Writes what was collected. `source`: the name of the text, noted in the file. */
enum status collect_write(const struct collector *c, const struct model *m,
                          const struct perplexity_result *r, const char *source, const char *path);

#endif
