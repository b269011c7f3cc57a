/* jinja_str.h - Python's view of text (characters, cases, classes, slices) on UTF-8. */
#ifndef ENGINE_TEXT_JINJA_STR_H
#define ENGINE_TEXT_JINJA_STR_H

#include "engine/text/jinja_value.h"

enum jcase { JCASE_LOWER, JCASE_UPPER, JCASE_TITLE };
enum jclass {
    JCLASS_ALPHA,
    JCLASS_DIGIT,
    JCLASS_DECIMAL,
    JCLASS_NUMERIC,
    JCLASS_ALNUM,
    JCLASS_SPACE,
    JCLASS_LOWER,
    JCLASS_UPPER,
    JCLASS_PRINT
};
enum jside { JSIDE_LEFT = 1, JSIDE_RIGHT = 2, JSIDE_BOTH = 3 };

size_t js_count(const char *p, size_t n);                 /* characters */
size_t js_char_bytes(const char *p, size_t n, size_t at); /* of the character at byte `at` */
size_t js_offset(const struct jstr *s, size_t character); /* its first byte; s->n at the end */
size_t js_last_char(const char *p, size_t n);             /* where the last character begins */
bool js_is(uint32_t cp, enum jclass c);
bool js_is_cased(uint32_t cp);

struct jval js_sub(struct jinja *j, struct jval s, size_t from, size_t to); /* bytes; shares them */
/* s[start:start + n*step:step] in characters, n items. */
struct jval js_slice(struct jinja *j, struct jval s, int64_t start, int64_t step, int64_t n);
struct jval js_case(struct jinja *j, struct jval s, enum jcase c);
struct jval js_capitalize(struct jinja *j,
                          struct jval s);             /* first character titled, others lower */
struct jval js_title(struct jinja *j, struct jval s); /* each word, as str.title() */
struct jval js_swapcase(struct jinja *j, struct jval s);
/* chars: NULL is whitespace. */
struct jval js_strip(struct jinja *j, struct jval s, const struct jstr *chars, enum jside side);
struct jval js_replace(struct jinja *j, struct jval s, struct jval old, struct jval with,
                       int64_t count);
/* Byte position of `needle` in s[from, to), -1 when absent; `last`: the last one. */
int64_t js_find(struct jinja *j, const struct jstr *s, const struct jstr *needle, size_t from,
                size_t to, bool last);
struct jval js_split(struct jinja *j, struct jval s, const struct jstr *sep, int64_t max,
                     bool from_right);
struct jval js_lines(struct jinja *j, struct jval s, bool keep_ends);
struct jval js_repeat(struct jinja *j, struct jval s, int64_t times);
struct jval js_escape(struct jinja *j, struct jval s); /* HTML; gives Markup */

#endif
