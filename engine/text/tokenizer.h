/* tokenizer.h - text <-> token ids. One object for all kinds; those of GGUF files are rows of a
 * table in tokenizer.c, those of tokenizer.json are put together by tokenizer_json.h.
 *
 * Immutable after tokenizer_new: any number of threads may encode and decode at once. */
#ifndef ENGINE_TEXT_TOKENIZER_H
#define ENGINE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

enum token_type { /* the numbers of tokenizer.ggml.token_type */
                  TOKEN_NORMAL = 1,
                  TOKEN_UNKNOWN,
                  TOKEN_CONTROL,
                  TOKEN_USER,
                  TOKEN_UNUSED,
                  TOKEN_BYTE
};

enum { /* how a token that is written in text as it stands is found; bits of tokenizer_spec.added */
       ADDED_LSTRIP = 1,     /* it takes the blanks before it */
       ADDED_RSTRIP = 2,     /* and behind it */
       ADDED_SINGLE = 4,     /* only between characters that are no word's */
       ADDED_NORMALIZED = 8, /* in the normalised text, by its own normalised spelling */
       ADDED_OUTSIDE = 16,   /* the model does not know it: nothing but its spelling becomes it */
};

struct pipeline_spec;   /* engine/text/pipeline.h */
struct tokenizer_spec { /* what a checkpoint says; borrowed during tokenizer_new only */
    const char *model;  /* tokenizer.ggml.model: a kind of tokenizer.c; NULL: `pipeline` */
    const char *pre;    /* pre-tokenizer name of the GGUF file, NULL: "default" */
    struct pipeline_spec *pipeline; /* tokenizer.json's parts; tokenizer_new takes what it holds */
    int n_vocab;
    const struct bytes *token; /* [n_vocab], in the file's spelling (byte-level alphabet, U+2581) */
    const float *score;        /* [n_vocab] or NULL */
    const double *exact;       /* [n_vocab] the same before it was rounded, or NULL */
    const int32_t *type;       /* [n_vocab] enum token_type, or NULL: all normal */
    const uint8_t *added;      /* [n_vocab] ADDED_*, or NULL */
    int n_merges;
    const struct bytes *merge;      /* [n_merges] "left right" */
    bool merge_halves;              /* or [2 * n_merges]: left, right, left, right ... */
    int32_t bos, eos, unk;          /* -1: none */
    bool add_bos, add_eos;          /* the file's policy for plain prompts */
    const int32_t *before, *behind; /* or these ids instead, where there are any */
    int n_before, n_behind;         /* at most TOKENIZER_MAX_AROUND */
    const int32_t *ends;            /* tokens that end a turn besides EOS */
    int n_ends;                     /* at most TOKENIZER_MAX_ENDS */
    bool add_space_prefix;          /* SentencePiece: a space before the text ... */
    bool space_once;                /* ... but not before what follows a special token */
    bool one_space;                 /* SentencePiece: blanks at the ends go, several become one */
    struct bytes charsmap;          /* SentencePiece's normalisation table, may be empty */
    bool lowercase, strip_accents;  /* "bert" */
};

enum { TOKENIZER_MAX_AROUND = 8, TOKENIZER_MAX_ENDS = 16 };
/* Tokens; the largest vocabulary known, XLM-V's, has 901 629. A number that a file claims costs
 * memory before the file is refused, so it bounds that. */
enum { TOKENIZER_MOST = 1 << 20 };

struct tokens { /* zero-initialised is empty */
    int32_t *id;
    int n, cap;
};
void tokens_push(struct tokens *t, int32_t id);
void tokens_reserve(struct tokens *t, size_t more); /* room behind t->id[t->n] */
void tokens_clear(struct tokens *t);

struct tokenizer;
/* Everything is checked (ids in range, merges over known tokens ...); errors name what and where.
 * An unknown model or pre-tokenizer is ERR_UNSUPPORTED with the list of known ones. */
enum status tokenizer_new(const struct tokenizer_spec *spec, struct tokenizer **out);
void tokenizer_free(struct tokenizer *t);
/* The policy of files without tokenizer.ggml.add_bos_token, _eos_token or _sep_token: a fact about
 * the kind and the pre-tokenizer. */
struct tokenizer_policy {
    bool bos, eos, sep;
};
struct tokenizer_policy tokenizer_default_policy(const char *model, const char *pre);

enum {                 /* flags of tokenizer_encode */
       ENCODE_BOS = 1, /* put BOS first when the file's policy says so (and EOS last, likewise) */
       ENCODE_SPECIAL =
           2,             /* control tokens written in the text become their ids (chat templates) */
       ENCODE_PROMPT = 4, /* a model goes on from it: BOS by policy, but once where the text begins
                              with it, and nothing last */
};
/* Appends to `out`. Any bytes are accepted; invalid UTF-8 is encoded as its bytes where the
 * vocabulary can. */
enum status tokenizer_encode(const struct tokenizer *t, struct bytes text, unsigned flags,
                             struct tokens *out);
/* Appends the words that a text is cut into, each with a NUL behind it: what two tokenizers of one
 * vocabulary must agree on to give all texts the same tokens. Special tokens are text. */
enum status tokenizer_words(const struct tokenizer *t, struct bytes text, struct buf *out);

int tokenizer_n_vocab(const struct tokenizer *t);
/* The bytes that `id` stands for in the middle of a text (control tokens: their spelling).
 * Borrowed. */
struct bytes tokenizer_piece(const struct tokenizer *t, int32_t id);
enum token_type tokenizer_type(const struct tokenizer *t, int32_t id);
int32_t tokenizer_find(const struct tokenizer *t, const char *spelling); /* -1: not a token */
int32_t tokenizer_bos(const struct tokenizer *t);                        /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t); /* the file's policy */
/* Tokens that end a turn: EOS, the file's list, and known spellings (<|im_end|>, <|eot_id|>,
 * <|end|> ...). */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
/* A spelling that is nothing but the end of a turn, of whatever type a file says the token is. */
bool tokenizer_spells_end(struct bytes spelling);

/* Incremental decoding: what is given out is always whole UTF-8 characters. Zero-initialised is
 * ready. */
struct detok {
    char held[16]; /* the beginning of a character that later tokens complete */
    int n_held;
    bool started; /* SentencePiece drops the space of the first piece; set it to continue a text */
    bool blank;   /* the last token ended a word */
    int32_t last; /* the last token + 1, where repeated ones count once */
};
/* Appends to `out` what `id` completes. Control tokens give nothing unless `special`. Bytes that no
 * later token can make valid become U+FFFD. */
void detok_push(const struct tokenizer *t, struct detok *d, int32_t id, bool special,
                struct buf *out);
void detok_flush(struct detok *d, struct buf *out); /* the end: a half character becomes U+FFFD */

#endif
