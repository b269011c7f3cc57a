/* quantize.c - `inferd quantize IN OUT --type T`: options in, the closing line out; the work is
 * engine/load/quantize.c's. */
#include <stdio.h>

#include "engine/load/imatrix.h"
#include "engine/load/mix.h"
#include "engine/load/quantize.h"
#include "kernels/base/clock.h"
#include "kernels/base/thread.h"
#include "server/cmd/cmd.h"
#include "server/cmd/work.h"

struct run {
    const struct config *c;
    struct work work;
    struct quantize_options o;
    struct quantize_result result;
    struct imatrix *imatrix;
};

static void show(void *ctx, const char *stage, double done)
{
    work_show(&((struct run *)ctx)->work, stage, done);
}

static void say(void *ctx, const char *line)
{
    work_say(&((struct run *)ctx)->work, line);
}

static enum status quantize(void *ctx)
{
    struct run *r = ctx;
    struct checkpoint *c;
    enum status s;

    if (r->c->imatrix)
        TRY(imatrix_open(r->c->imatrix, &r->imatrix));
    r->o.imatrix = r->imatrix;
    TRY(checkpoint_open(r->c->model, &c));
    s = quantize_file(c, r->c->output, &r->o, &r->result);
    checkpoint_close(c);
    return s;
}

static int usage(const char *what)
{
    fprintf(stderr, "inferd quantize: %s; usage: inferd quantize IN OUT --type TYPE\n", what);
    return EXIT_USAGE;
}

int cmd_quantize(const struct config *c)
{
    struct run r = {.c = c, .work = {.run = quantize, .ctx = &r}};
    const struct quantize_result *x = &r.result;
    double start = clock_now();
    enum status s;

    if (!c->output)
        return usage("which file is it to write?");
    if (!c->type)
        return usage("which type?");
    if (!mix_find(c->type)) {
        fprintf(stderr, "inferd quantize: no type \"%s\" (types: %s)\n", c->type, mix_list());
        return EXIT_USAGE;
    }
    r.o = (struct quantize_options){.type = c->type,
                                    .requantize = c->allow_requantize,
                                    .pure = c->pure,
                                    .threads = c->threads ? (int)c->threads : thread_cpus(),
                                    .progress = show,
                                    .note = say,
                                    .ctx = &r,
                                    .stop = &r.work.stop};
    s = work_run(&r.work);
    imatrix_close(r.imatrix);
    if (s != OK)
        return cmd_failed();
    fprintf(stderr, "%s: %.1f MiB -> %.1f MiB, %.2f bits a weight, %.1f s\n", c->output,
            (double)x->bytes_in / (1 << 20), (double)x->bytes_out / (1 << 20),
            x->weights ? 8.0 * (double)x->weight_bytes / (double)x->weights : 0,
            clock_now() - start);
    return EXIT_GOOD;
}
