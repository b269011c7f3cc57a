/* jinja_format.h - Python's two ways to fill in a text: "%s" % x and "{}".format(x). */
#ifndef ENGINE_TEXT_JINJA_FORMAT_H
#define ENGINE_TEXT_JINJA_FORMAT_H

#include "engine/text/jinja_value.h"

struct jval jfmt_percent(struct jinja *j, struct jval fmt, struct jval args);
struct jval jfmt_format(struct jinja *j, struct jval fmt, const struct jargs *a);

#endif
