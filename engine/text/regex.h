/* regex.h - patterns over text, by PCRE2 with JIT. Immutable once compiled: one for all threads,
 * each with a matcher of its own. Internal to the tokenizers. */
#ifndef ENGINE_TEXT_REGEX_H
#define ENGINE_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

/* Unicode's White_Space for inside a class; PCRE2's \s has U+180E besides. */
#define REGEX_WHITE                                                                                \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"

/* What \w is, for inside a class. */
#define REGEX_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

struct regex;
/* `pattern` in PCRE2's syntax. ERR_FORMAT with the reason and where. */
enum status regex_new(struct bytes pattern, struct regex **out);
/* `pattern` in Oniguruma's syntax, as tokenizer.json has it (onig.h). */
enum status regex_new_onig(struct bytes pattern, struct regex **out);
void regex_free(struct regex *r);

struct regex_work; /* one thread's matcher, for any number of patterns */
struct regex_work *regex_work_new(void);
void regex_work_free(struct regex_work *w);

/* The leftmost match that begins at `from` or behind it, in valid UTF-8. False: none. A pattern
 * that would run for ages (a file may hold any) counts as not found from there on. */
bool regex_find(const struct regex *r, struct regex_work *w, struct bytes text, size_t from,
                size_t *begin, size_t *end);

#endif
