/* template.h - a checkpoint's chat template: Jinja as Transformers runs it (trim_blocks,
 * lstrip_blocks, loop controls, `tojson` with its options, raise_exception, strftime_now,
 * `generation` blocks), in an interpreter that is bounded in steps, depth and output. Parsed once
 * at load, immutable then; renders on any thread. */
#ifndef ENGINE_TEXT_TEMPLATE_H
#define ENGINE_TEXT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/buf.h"
#include "kernels/base/json.h"
#include "kernels/base/status.h"

struct chat_template;

/* ERR_TEMPLATE with line number and reason. */
enum status template_parse(const char *text, size_t n, struct chat_template **out);
void template_free(struct chat_template *t);

struct template_limits { /* zero fields: the defaults in template.c */
    size_t max_steps, max_output;
    int max_depth;
    long long now; /* seconds since 1970 for strftime_now; 0: the clock */
};
/* Renders with the members of `vars` (an object: messages, tools, add_generation_prompt, bos_token,
 * eos_token, ...) as global variables. A template that raises gives ERR_TEMPLATE with its own
 * message. Appends to `out`. */
enum status template_render(const struct chat_template *t, const struct json *vars,
                            const struct template_limits *limits, struct buf *out);

/* Does it show tool calls only where their message's content is null and their arguments are a JSON
 * text? Nearly all templates want an object there and do not look at the content. */
bool template_wants_text_calls(const struct chat_template *t);
/* Does it read a user's content that is a list of parts? Others write the list down as it is. */
bool template_takes_parts(const struct chat_template *t);
#endif
