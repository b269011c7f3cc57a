/* perplexity.c - `inferd perplexity FILE TEXT`: figures on standard output; the work is
 * engine/perplexity.c's. */
#include <math.h>
#include <stdio.h>

#include "server/cmd/cmd.h"
#include "server/cmd/measure.h"

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

/* Seventeen digits: a double and back. JSON has no word for what is not finite. */
static void put(struct buf *out, const char *key, double x)
{
    if (isfinite(x))
        buf_printf(out, ", \"%s\": %.17g", key, x);
    else
        buf_printf(out, ", \"%s\": null", key);
}

static void print_json(struct buf *out, const struct config *c, const struct perplexity_result *x)
{
    buf_printf(out, "{\"tokens\": %lld, \"windows\": %lld, \"scored\": %lld", (long long)x->tokens,
               (long long)x->windows, (long long)x->scored);
    put(out, "nll", x->nll.value);
    put(out, "nll_error", x->nll.error);
    put(out, "perplexity", x->perplexity.value);
    put(out, "perplexity_error", x->perplexity.error);
    if (c->reference) {
        put(out, "divergence", x->divergence.value);
        put(out, "divergence_error", x->divergence.error);
        put(out, "divergence_most", x->divergence_most);
        put(out, "same_top", x->top.value);
        put(out, "same_top_error", x->top.error);
        put(out, "log_ratio", x->log_ratio.value);
        put(out, "log_ratio_error", x->log_ratio.error);
        put(out, "logit_mean", x->logit_mean);
        put(out, "logit_most", x->logit_most);
    }
    buf_puts(out, "}\n");
}

int cmd_perplexity(const struct config *c)
{
    struct measure m;
    struct buf out = {0};
    int code;

    if (!c->text) {
        fprintf(stderr, "inferd perplexity: of which text? usage: inferd perplexity FILE TEXT\n");
        return EXIT_USAGE;
    }
    measure_init(&m, c);
    m.o.save = c->save_logits;
    m.o.reference = c->reference;
    if (measure_run(&m) != OK)
        return cmd_failed();
    if (c->json)
        print_json(&out, c, &m.result);
    else
        print_text(&out, c, &m.result);
    code = cmd_print(&out);
    buf_clear(&out);
    return code;
}
