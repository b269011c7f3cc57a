/* splitter.h - cuts normalised text into words: a list of steps, each of which cuts the pieces that
 * the one before gave it. Immutable once built. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_SPLITTER_H
#define ENGINE_TEXT_SPLITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct regex_work;

enum cut { /* what becomes of a delimiter */
           CUT_REMOVED,
           CUT_ISOLATED,
           CUT_MERGED_PREVIOUS,
           CUT_MERGED_NEXT,
           CUT_CONTIGUOUS
};
enum prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct splitter;
struct splitter *splitter_new(void);
void splitter_free(struct splitter *s);

/* Delimiters are what a pattern matches; inverted: what lies between the matches. */
enum status splitter_add_regex(struct splitter *s, struct bytes pattern, bool onig, enum cut cut,
                               bool inverted);
enum status splitter_add_text(struct splitter *s, struct bytes delimiter, enum cut cut,
                              bool inverted);
/* Delimiters are the characters for which `is` holds, each by itself. */
enum status splitter_add_chars(struct splitter *s, bool (*is)(uint32_t cp), enum cut cut);
/* Pieces of so many characters. */
enum status splitter_add_length(struct splitter *s, int chars);
/* Text becomes other text: a blank before it; U+2581, or another character, for each blank; the
 * byte-level alphabet for each byte. */
enum status splitter_add_blank(struct splitter *s);
enum status splitter_add_meta(struct splitter *s, struct bytes replacement, enum prepend prepend);
enum status splitter_add_bytes(struct splitter *s);
/* Whether the last step is splitter_add_bytes'; then it is taken away, for a model that works on
 * bytes does not need it. */
bool splitter_drop_bytes(struct splitter *s);

struct split_run; /* one thread's */
/* `word` is called with each word in order. */
struct split_run *split_run_new(const struct splitter *s, struct regex_work *w,
                                void (*word)(void *to, struct bytes word), void *to);
void split_run_free(struct split_run *r);
/* `at_start`: the text begins where the whole text begins. */
void split_run_text(struct split_run *r, struct bytes text, bool at_start);

#endif
