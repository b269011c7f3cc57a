/* wordmodel.h - what turns one word into tokens: BPE, unigram, WordPiece, a list of words, RWKV's
 * and PLaMo's.
 * Immutable once made; each call of encode has a run of its own. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_WORDMODEL_H
#define ENGINE_TEXT_WORDMODEL_H

#include "engine/text/vocab.h"

struct word_model {
    void (*close)(void *model); /* NULL is fine */
    void *(*begin)(const void *model, size_t text_bytes);
    void (*word)(void *run, struct bytes word, struct tokens *out); /* appends */
    void (*end)(void *run);
};

/* Each sets `*out` to what wants `close`, even when it fails. */
enum status bpe_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
enum status unigram_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
enum status wordpiece_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
enum status wordlevel_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
enum status longest_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
enum status plamo_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out);

const struct word_model *bpe_model(void);
const struct word_model *unigram_model(void);
const struct word_model *wordpiece_model(void);
const struct word_model *wordlevel_model(void);
const struct word_model *longest_model(void);
const struct word_model *plamo_model(void);

#endif
