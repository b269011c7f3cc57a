/* jinja_repr.h - str() and repr() as Python writes them, and numbers to and from text. */
#ifndef ENGINE_TEXT_JINJA_REPR_H
#define ENGINE_TEXT_JINJA_REPR_H

#include "engine/text/jinja_value.h"

struct jval jr_str(struct jinja *j, struct jval v);  /* JV_STR; a string is itself, markup kept */
struct jval jr_repr(struct jinja *j, struct jval v); /* JV_STR */
struct jval jr_ascii(struct jinja *j, struct jval v);

enum { JR_FLOAT_MAX = 40 };
size_t jr_float(double f, char out[JR_FLOAT_MAX]); /* repr of a float; its length */

/* int(text, base) and float(text): surrounding blanks, signs, underscores. JV_MISSING: not one. */
struct jval jr_parse_int(struct jinja *j, const struct jstr *s, int base);
struct jval jr_parse_float(struct jinja *j, const struct jstr *s);

#endif
