/* jinja_methods.h - attributes and methods of values: what stands behind a dot. */
#ifndef ENGINE_TEXT_JINJA_METHODS_H
#define ENGINE_TEXT_JINJA_METHODS_H

#include "engine/text/jinja_value.h"

/* The attribute, a bound method, an undefined value that explains why it is refused (methods that
 * change their object: the sandbox is immutable), or JV_MISSING. Dictionary keys are not looked at.
 */
struct jval jm_attr(struct jinja *j, struct jval of, struct jval name);

/* The string methods; in jinja_strmethods.c. */
const struct jfunc *jm_str_method(const struct jstr *name);

#endif
