/* generation.h - how a checkpoint wants to be sampled from where a request says nothing. */
#ifndef ENGINE_LOAD_GENERATION_H
#define ENGINE_LOAD_GENERATION_H

#include "engine/engine.h"
#include "engine/load/gguf_write.h"

struct generation {
    struct sampling sampling;
    int64_t max_tokens; /* 0: it does not say */
};
/* From generation_config.json, or the keys general.sampling.* of a GGUF file. What is no number, or
 * no number that a request might name, is left aside with a warning. */
void generation_read(const struct checkpoint *c, struct generation *out);
/* As keys of a GGUF file, but for what is neutral. */
void generation_write(const struct generation *g, struct gguf_writer *w);

#endif
