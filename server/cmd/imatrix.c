/* imatrix.c - `inferd imatrix FILE TEXT OUT`: the importance of a model's columns for a text; the
 * work is engine/perplexity.c's and engine/collect.c's. */
#include <stdio.h>

#include "engine/collect.h"
#include "server/cmd/cmd.h"
#include "server/cmd/measure.h"

struct run {
    struct measure measure; /* first: the callbacks' context is both */
    struct collector *collector;
};

static enum status after(void *ctx, const struct model *m, const struct perplexity_result *x)
{
    const struct run *r = ctx;

    return collect_write(r->collector, m, x, r->measure.c->text, r->measure.c->output);
}

int cmd_imatrix(const struct config *c)
{
    struct run r;
    enum status s;

    if (!c->text || !c->output) {
        fprintf(stderr, "inferd imatrix: usage: inferd imatrix FILE TEXT OUT\n");
        return EXIT_USAGE;
    }
    measure_init(&r.measure, c);
    r.collector = collect_new();
    r.measure.o.model.tap = collect_tap;
    r.measure.o.model.tap_ctx = r.collector;
    r.measure.o.after = after;
    s = measure_run(&r.measure);
    collect_free(r.collector);
    if (s != OK)
        return cmd_failed();
    fprintf(stderr, "%s: %lld windows of %d tokens, perplexity %.4f\n", c->output,
            (long long)r.measure.result.windows, r.measure.result.window,
            r.measure.result.perplexity.value);
    return EXIT_GOOD;
}
