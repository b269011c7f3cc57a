/* model.h - a checkpoint on its way to being served: header, hyper-parameters, tokenizer, template,
 * weights.
 *
 * model_open reads and checks everything but the weights' bytes; model_place asks the device how
 * each weight is to lie and adds the bytes up; model_load packs them into the region. Immutable
 * after that. With model_begin the vocabulary and the template are read on a thread of their own
 * meanwhile: to take 150 000 tokens apart takes as long as to pack 200 MB. */
#ifndef ENGINE_LOAD_MODEL_H
#define ENGINE_LOAD_MODEL_H

#include "engine/engine.h"
#include "engine/nn/net.h"
#include "engine/text/template.h"
#include "engine/text/tokenizer.h"
#include "kernels/backend.h"

struct checkpoint;
struct placement;
struct sides; /* engine/load/repack.h */
struct recipe;
struct text_thread;

struct model {
    struct model_info info; /* strings live in `arena` */
    struct net net;
    struct tokenizer *tok;       /* NULL: random weights without a vocabulary */
    struct chat_template *chat;  /* NULL: none */
    struct chat_template *tools; /* the one for conversations with tools; NULL: chat */
    struct checkpoint *ckpt;     /* its format is "random" where weights are made in memory */
    struct placement *place;     /* model_place's answers: one a weight */
    const struct recipe *recipe; /* its task; NULL: opened for its text alone */
    char *chat_error;            /* why its template cannot be used, or NULL */
    struct text_thread *reading; /* the thread that fills tok, chat, tools and chat_error */
    bool whole;                  /* they are there, and described */
    char (*id_text)[16];         /* without a vocabulary: "<id>" of each token */
    size_t weight_bytes;         /* of the packed weights, after model_place */
    size_t lower_bytes;          /* of those of the first layers, where another device has them */
    struct arena arena;
};

/* `path` or `random`, see struct engine_options. Errors name the file, and the key or tensor. */
enum status model_open(const char *path, const struct random_model *random, struct model **out);
/* The same without tokenizer and template, which are there after model_load; what is wrong with
 * them fails there. */
enum status model_begin(const char *path, const struct random_model *random, struct model **out);
enum status model_place(struct model *m, struct device *dev);
/* The embedding and the layers below `cut`, which is above 0, to `lower`, the others and the
 * head to `dev`. May be asked again with a greater cut. */
enum status model_split(struct model *m, struct device *dev, struct device *lower, int cut);
/* `progress` (may be NULL) gets 0 .. 1. Source pages are dropped as they are packed. */
enum status model_load(struct model *m, struct device *dev, void *weights,
                       void (*progress)(void *, double), void *ctx);
/* Binds without bytes: views with addresses inside `weights` (the null device's), for planning. */
enum status model_bind_plan(struct model *m, struct device *dev, void *weights);
/* The same after model_split: [SIDE_UPPER], [SIDE_LOWER]. */
enum status model_load_sides(struct model *m, const struct sides *on,
                             void (*progress)(void *, double), void *ctx);
enum status model_bind_sides(struct model *m, const struct sides *on);
/* How a walk through the network finds the vectors, which lie on both sides. */
void model_vectors(const struct model *m, const struct sides *on, struct pass *p);
/* Before the weights are loaded: no sequence will have more tokens. */
void model_context(struct model *m, int64_t tokens);
void model_close(struct model *m);

#endif
