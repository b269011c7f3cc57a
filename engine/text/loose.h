/* loose.h - tokenizers whose files are not one tokenizer.json: vocab.json with merges.txt,
 * vocab.txt, tekken.json, tiktoken's ranks. Each is written as the tokenizer.json that Transformers
 * would make of it, so that one reader knows them all. */
#ifndef ENGINE_TEXT_LOOSE_H
#define ENGINE_TEXT_LOOSE_H

#include "engine/text/added.h"

struct loose_files {            /* borrowed; empty: not there */
    struct bytes vocab, merges; /* vocab.json, merges.txt */
    struct bytes words;         /* vocab.txt */
    struct bytes tekken;        /* tekken.json */
    struct bytes ranks;         /* tokenizer.model, where ranks_are */
    struct bytes network;       /* model_type of config.json */
};
bool loose_has(const struct loose_files *l);
/* Appends the tokenizer.json; of `f` it reads config, special and added. Errors name the file. */
enum status loose_write(const struct loose_files *l, const struct tokenizer_files *f,
                        struct buf *out);

/* A file of lines "base64 of a token, blank, rank"? */
bool ranks_are(struct bytes text);

/* ---- between loose.c and ranks.c ------------------------------------------------------------- */

/* The members of a tokenizer.json, in this order, each with a comma behind it. */
void loose_put_text(struct buf *out, struct bytes text); /* as a JSON string */
void loose_put_added(struct buf *out, const struct added_token *t, int64_t id);
/* "post_processor" that puts one token before a text, and one behind where `behind` >= 0. */
void loose_put_around(struct buf *out, struct bytes first, int64_t before, struct bytes last,
                      int64_t behind);

enum status tekken_write(struct bytes tekken, struct buf *out);
enum status ranks_write(struct bytes ranks, const struct added *added, struct buf *out);

#endif
