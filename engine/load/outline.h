/* outline.h - a checkpoint as a GGUF file would describe it: its keys, its tensors by their GGUF
 * names, and how their numbers have to be turned. */
#ifndef ENGINE_LOAD_OUTLINE_H
#define ENGINE_LOAD_OUTLINE_H

#include "engine/load/checkpoint.h"
#include "engine/load/gguf_write.h"
#include "engine/load/mix.h"
#include "engine/load/recipe.h"

struct outline_tensor {
    const char *name; /* in a GGUF file */
    const struct ckpt_tensor *src;
    float factor;  /* its decoded numbers are multiplied by it; 1: none */
    int64_t heads; /* not 0: rows of each of so many heads change from halves to pairs */
};

struct outline {
    struct outline_tensor *tensor;
    int n;
    /* Factors of rotary frequencies, vectors that the source has not: one, or two of LongRoPE. */
    struct {
        const char *name;
        const float *value; /* [n_factors] */
    } factors[2];
    int n_sets;
    int64_t n_factors;
    struct mix_model model;
    const struct recipe *recipe; /* of a Hugging Face directory, and its numbers */
    struct hparams hp;
    struct arena arena;
};

enum status outline_open(struct outline *o, const struct checkpoint *c);
void outline_close(struct outline *o);
/* The source's row that becomes row `row`. */
int64_t outline_row(const struct outline_tensor *t, int64_t row);
/* All keys of the output but those that name its format. */
enum status outline_keys(const struct outline *o, const struct checkpoint *c,
                         struct gguf_writer *w);

/* outline_hf.c: the same for Hugging Face directories. */
enum status outline_hf_open(struct outline *o, const struct checkpoint *c);
enum status outline_hf_keys(const struct outline *o, const struct checkpoint *c,
                            struct gguf_writer *w);

#endif
