/* fuzz_template.c - any bytes as a template: it parses or says why not, renders or says why not,
 * and leaves valid output behind in both cases. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char vars[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"h\\u00e9 <b>\\n\"}, {\"role\": \"tool\", "
    "\"content\": null, \"tool_calls\": [{\"f\": {\"a\": 1.5, \"b\": [1, true]}}]}], \"n\": 7, "
    "\"l\": [3, 1, 2], \"s\": \" a b \", \"d\": {\"k\": \"v\"}, \"add_generation_prompt\": true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct template_limits limits = {
        .max_steps = 100000, .max_output = 1 << 20, .now = 1700000000};
    struct arena a;
    const struct json *v;
    struct chat_template *t;
    struct buf out = {0};
    arena_init(&a, 0);
    if (json_parse(&a, vars, sizeof vars - 1, &v) != OK)
        abort();
    enum status s = template_parse((const char *)data, n, &t);
    if (s == OK)
        s = template_render(t, v, &limits, &out);
    if (s != OK && (s != ERR_TEMPLATE || !*fail_text() || out.len))
        abort();
    if (out.len > limits.max_output)
        abort();
    template_free(t);
    buf_clear(&out);
    arena_clear(&a);
    return 0;
}
