/* normalizer.h - what happens to a text before it is cut into words: a list of steps. Immutable
 * once built. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_NORMALIZER_H
#define ENGINE_TEXT_NORMALIZER_H

#include <stdbool.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct regex;
struct regex_work;

enum normal_kind {
    NORMAL_FORM,          /* number: enum normal_form */
    NORMAL_LOWERCASE,     /* character by character, as Rust does */
    NORMAL_STRIP_ACCENTS, /* drops all marks */
    NORMAL_STRIP,         /* blanks at the ends; number: STRIP_LEFT | STRIP_RIGHT */
    NORMAL_REPLACE,       /* `from`, or what `regex` finds, becomes `to` */
    NORMAL_PREPEND,       /* `to` before a text that is not empty */
    NORMAL_BERT,          /* number: BERT_* */
    NORMAL_NMT,           /* drops controls; odd blanks become blanks */
    NORMAL_CHARSMAP,      /* SentencePiece's compiled table; `from`: its bytes */
    NORMAL_BYTES,         /* each byte becomes its character of the byte-level alphabet */
};
enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };
enum { BERT_CLEAN = 1, BERT_IDEOGRAPHS = 2, BERT_ACCENTS = 4, BERT_LOWERCASE = 8 };

struct normalizer;
struct normalizer *normalizer_new(void);
void normalizer_free(struct normalizer *n);
/* `from` and `to` are copied. */
enum status normalizer_add(struct normalizer *n, enum normal_kind kind, int number,
                           struct bytes from, struct bytes to);
enum status normalizer_add_regex(struct normalizer *n, struct bytes onig, struct bytes to);
bool normalizer_is_empty(const struct normalizer *n);

struct normal_work { /* one thread's; zero-initialised is ready */
    struct buf buf[2];
    struct regex_work *regex; /* borrowed; NULL when no step needs one */
    bool lost_head;           /* the last text lost its first character */
};
void normal_work_clear(struct normal_work *w);
/* The normalised text: `text` (valid UTF-8) itself, or in `w` until the next call. `goes_on`: it
 * continues another, so nothing is put before it. */
struct bytes normalizer_run(const struct normalizer *n, struct normal_work *w, struct bytes text,
                            bool goes_on);

#endif
