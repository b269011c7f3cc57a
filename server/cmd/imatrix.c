/* imatrix.c - `inferd imatrix FILE TEXT OUT`: the importance of a model's columns for a text; the
 * work is engine/perplexity.c's and engine/collect.c's. */
#include <stdio.h>

#include "engine/collect.h"
#include "kernels/base/mem.h"
#include "server/cmd/cmd.h"
#include "server/cmd/work.h"

enum { TEXT_MOST = 1 << 30 };

struct run {
    const struct config *c;
    struct work work;
    struct perplexity_options o;
    struct perplexity_result result;
    struct collector *collector;
};

static void show(void *ctx, const char *stage, double done)
{
    work_show(&((struct run *)ctx)->work, stage, done);
}

static enum status after(void *ctx, const struct model *m, const struct perplexity_result *x)
{
    struct run *r = ctx;

    return collect_write(r->collector, m, x, r->c->text, r->c->output);
}

static enum status measure(void *ctx)
{
    struct run *r = ctx;
    char *text;
    size_t n;
    enum status s;

    TRY(file_read(r->c->text, TEXT_MOST, &text, &n));
    r->o.text = (struct bytes){text, n};
    s = perplexity_run(&r->o, &r->result);
    xfree(text);
    return s;
}

int cmd_imatrix(const struct config *c)
{
    struct run r = {.c = c, .work = {.run = measure, .ctx = &r}};
    enum status s;

    if (!c->text || !c->output) {
        fprintf(stderr, "inferd imatrix: usage: inferd imatrix FILE TEXT OUT\n");
        return EXIT_USAGE;
    }
    r.collector = collect_new();
    r.o = (struct perplexity_options){.model = {.path = c->model,
                                                .kv_type = c->kv_type,
                                                .isa = c->isa,
                                                .threads = (int)c->threads,
                                                .window = (int)c->ctx,
                                                .tap = collect_tap,
                                                .tap_ctx = r.collector},
                                      .windows = c->chunks,
                                      .stop = &r.work.stop,
                                      .progress = show,
                                      .after = after,
                                      .ctx = &r};
    s = work_run(&r.work);
    collect_free(r.collector);
    if (s != OK)
        return cmd_failed();
    fprintf(stderr, "%s: %lld windows of %d tokens, perplexity %.4f\n", c->output,
            (long long)r.result.windows, r.result.window, r.result.perplexity.value);
    return EXIT_GOOD;
}
