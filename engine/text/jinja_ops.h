/* jinja_ops.h - operators, subscripts and attributes, with Python's meaning. */
#ifndef ENGINE_TEXT_JINJA_OPS_H
#define ENGINE_TEXT_JINJA_OPS_H

#include "engine/text/jinja_ast.h"

struct jval jo_binary(struct jinja *j, enum jop op, struct jval a, struct jval b);
struct jval jo_unary(struct jinja *j, enum jop op, struct jval a);
bool jo_compare(struct jinja *j, enum jop op, struct jval a, struct jval b);
bool jo_contains(struct jinja *j, struct jval item, struct jval in);
struct jval jo_attr(struct jinja *j, struct jval of, struct jval name);
struct jval jo_item(struct jinja *j, struct jval of, struct jval index);
/* Bounds that are absent are JV_NONE. */
struct jval jo_slice(struct jinja *j, struct jval of, const struct jval bound[3]);

#endif
