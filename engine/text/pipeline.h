/* pipeline.h - normaliser, splitter, model: the way of a text that most kinds of tokenizers share.
 * Internal to the tokenizers. */
#ifndef ENGINE_TEXT_PIPELINE_H
#define ENGINE_TEXT_PIPELINE_H

#include "engine/text/wordmodel.h"

struct normalizer;
struct splitter;
struct decoder;

enum word_kind { WORD_BPE, WORD_UNIGRAM, WORD_PIECE, WORD_LEVEL, WORD_LONGEST, WORD_PLAMO };

struct pipeline_spec { /* the parts, for tokenizer_new, which takes them whatever happens */
    struct normalizer *normalizer;
    struct splitter *splitter;
    struct decoder *decoder; /* NULL: tokens are spelled as they are read */
    enum word_kind kind;
    bool as_is;          /* the model takes any bytes, uncut: there is no splitter or normaliser */
    bool bytes;          /* BPE: symbols are bytes, tokens are spelled in the byte-level alphabet */
    bool whole_word;     /* BPE: a word that is a token as it stands is not joined from symbols */
    bool from_ids;       /* BPE: without merges they are all cuts of a token in two, ranked by id */
    bool from_scores;    /* BPE: merges are all cuts of a token in two, ranked by its score */
    bool byte_fallback;  /* a character that is no token becomes its bytes' tokens */
    bool vanish;         /* BPE: unknown symbols give nothing, whatever the unknown token is */
    bool fuse_unk;       /* unknown characters side by side become one token */
    struct bytes prefix; /* of what continues a word, NULL: none */
    struct bytes suffix; /* of what ends a word */
    int max_chars;       /* WordPiece: longer words are unknown */
};

struct pipeline;
enum status pipeline_open(const struct tokenizer_spec *spec, const struct vocab *v,
                          struct pipeline **out);
void pipeline_close(struct pipeline *p);
void *pipeline_begin(const struct pipeline *p, size_t text_bytes);
enum status pipeline_text(void *run, struct bytes text, unsigned flags, bool at_start,
                          struct tokens *out);
/* The words that the model would get, each with a NUL behind it. */
enum status pipeline_words(void *run, struct bytes text, struct buf *words);
void pipeline_end(void *run);

#endif
