/* perplexity.c - `inferd perplexity FILE TEXT`: figures on standard output; the work is
 * engine/perplexity.c's. */
#include <stdio.h>

#include "engine/perplexity.h"
#include "kernels/base/mem.h"
#include "server/cmd/cmd.h"
#include "server/cmd/work.h"

enum { TEXT_MOST = 1 << 30 };

struct run {
    const struct config *c;
    struct work work;
    struct perplexity_options o;
    struct perplexity_result result;
};

static void show(void *ctx, const char *stage, double done)
{
    work_show(&((struct run *)ctx)->work, stage, done);
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

static void print_text(struct buf *out, const struct config *c, const struct perplexity_result *x)
{
    buf_printf(out, "text         %s: %lld tokens, %lld windows, %lld tokens scored\n", c->text,
               (long long)x->tokens, (long long)x->windows, (long long)x->scored);
    buf_printf(out, "perplexity   %.5f +- %.5f\n", x->perplexity.value, x->perplexity.error);
    if (!c->reference)
        return;
    buf_printf(out, "reference    %s\n", c->reference);
    buf_printf(out, "divergence   %.6f +- %.6f, at most %.6f\n", x->divergence.value,
               x->divergence.error, x->divergence_most);
    buf_printf(out, "same top     %.3f +- %.3f %%\n", 100 * x->top.value, 100 * x->top.error);
    buf_printf(out, "log ratio    %.6f +- %.6f\n", x->log_ratio.value, x->log_ratio.error);
    buf_printf(out, "logits       differ by %.6f, at most %.6f\n", x->logit_mean, x->logit_most);
}

/* Seventeen digits: a double and back. */
static void print_json(struct buf *out, const struct config *c, const struct perplexity_result *x)
{
    buf_printf(out,
               "{\"tokens\": %lld, \"windows\": %lld, \"scored\": %lld, \"nll\": %.17g, "
               "\"nll_error\": %.17g, \"perplexity\": %.17g, \"perplexity_error\": %.17g",
               (long long)x->tokens, (long long)x->windows, (long long)x->scored, x->nll.value,
               x->nll.error, x->perplexity.value, x->perplexity.error);
    if (c->reference)
        buf_printf(out,
                   ", \"divergence\": %.17g, \"divergence_error\": %.17g, \"divergence_most\": "
                   "%.17g, \"same_top\": %.17g, \"same_top_error\": %.17g, \"log_ratio\": %.17g, "
                   "\"log_ratio_error\": %.17g, \"logit_mean\": %.17g, \"logit_most\": %.17g",
                   x->divergence.value, x->divergence.error, x->divergence_most, x->top.value,
                   x->top.error, x->log_ratio.value, x->log_ratio.error, x->logit_mean,
                   x->logit_most);
    buf_puts(out, "}\n");
}

int cmd_perplexity(const struct config *c)
{
    struct run r = {.c = c, .work = {.run = measure, .ctx = &r}};
    struct buf out = {0};
    int code;

    if (!c->text) {
        fprintf(stderr, "inferd perplexity: of which text? usage: inferd perplexity FILE TEXT\n");
        return EXIT_USAGE;
    }
    r.o = (struct perplexity_options){.model = {.path = c->model,
                                                .kv_type = c->kv_type,
                                                .isa = c->isa,
                                                .threads = (int)c->threads,
                                                .window = (int)c->ctx},
                                      .windows = c->chunks,
                                      .save = c->save_logits,
                                      .reference = c->reference,
                                      .stop = &r.work.stop,
                                      .progress = show,
                                      .ctx = &r};
    if (work_run(&r.work) != OK)
        return cmd_failed();
    if (c->json)
        print_json(&out, c, &r.result);
    else
        print_text(&out, c, &r.result);
    code = cmd_print(&out);
    buf_clear(&out);
    return code;
}
