/* perplexity.c - `inferd perplexity FILE TEXT`: figures on standard output; the work is
 * engine/perplexity.c's. */
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
